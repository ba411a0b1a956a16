"use strict";

const MAX_BYTES = Number(document.body.dataset.maxBytes);
const HAS_PICTURES = document.body.dataset.hasPictures === "yes";
const READABLE = ["image/jpeg", "image/png"];
const MAX_SIDE = 2000; // pixels, of a picture that is converted
const HEAT = [255, 140, 0];
const STRONG = 0.5; // log-odds that are drawn as strong evidence, as in annotated posters

const results = document.getElementById("results");
const announce = text => { document.getElementById("status").textContent = text; };
document.getElementById("origin").textContent = location.origin;

// Requests.

async function send(path, body, type) {
  let response;
  try {
    response = await fetch(path, { method: "POST", body, headers: { "Content-Type": type } });
  } catch {
    throw new Error("no response: is poster-genres web still running?");
  }
  let answer;
  try {
    answer = await response.json();
  } catch {
    throw new Error(`the server is busy or failed (${response.status}): try again, or see its terminal`);
  }
  if (!response.ok) throw Object.assign(new Error(answer.error), { status: response.status });
  return answer;
}

async function sendFile(file) {
  const predict = async content => ({ content, answer: await send("api/posters", content, content.type) });
  if (!READABLE.includes(file.type) || file.size > MAX_BYTES) return predict(await convert(file));
  try {
    return await predict(file);
  } catch (error) {
    // Of another format than its name says, or of too many pixels: perhaps the browser can read it.
    if (error.status !== 422) throw error;
    return predict(await convert(file).catch(() => { throw error; }));
  }
}

async function convert(file) {
  // What the browser can show, such as WebP and AVIF, it can also convert.
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error("no poster: this browser can't read the file; expected an image");
  }
  const scale = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise(resolve => canvas.toBlob(resolve, "image/jpeg", 0.95));
}

function toBlob(address) {
  const bytes = Uint8Array.from(atob(address.slice(address.indexOf(",") + 1)), letter => letter.charCodeAt(0));
  return new Blob([bytes]);
}

// Answers, one after the other: the model uses all cores for each.

let waiting = Promise.resolve();
let explaining = Promise.resolve();

function enqueue(name, answer) {
  const card = document.getElementById("result").content.cloneNode(true).querySelector("li");
  card.querySelector("h2").textContent = name;
  results.prepend(card);
  announce(`${name}: waiting for its genres`);
  waiting = waiting.then(async () => {
    try {
      await answer(card);
    } catch (error) {
      show(card.querySelector(".problem"), error.message);
      announce(`${name}: ${error.message}`);
    }
  });
}

function addFile(file) {
  enqueue(file.name || "pasted picture", async card => {
    const { content, answer } = await sendFile(file);
    showPoster(card, content);
    showAnswer(card, answer, content);
  });
}

function addAddress(address) {
  enqueue(address, async card => {
    const answer = await send("api/addresses", JSON.stringify({ address }), "application/json");
    const content = toBlob(answer.image);
    showPoster(card, content);
    showAnswer(card, answer, content);
  });
}

function showPoster(card, content) {
  const image = card.querySelector("figure img");
  image.src = URL.createObjectURL(content);
  image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
}

function show(element, text) {
  element.textContent = text;
  element.hidden = false;
}

function showAnswer(card, answer, content) {
  const name = card.querySelector("h2").textContent;
  card.querySelector("figure img").alt = `The poster ${name}`;
  if (answer.unsure) show(card.querySelector(".unsure"), `Unsure: ${answer.unsure}.`);
  const buttons = answer.genres.map(genre => addGenre(card, genre));
  const others = Object.entries(answer.others).map(
    ([other, value]) => `${other}: ${typeof value === "number" ? value.toFixed(1) : value}`);
  if (answer.genres.some(genre => !genre.is_predicted)) others.unshift("no genre is over its threshold, this is the nearest");
  if (others.length) show(card.querySelector(".more"), others.join("; "));
  showSimilar(card, answer.similar);
  const named = answer.genres.map(
    genre => `${genre.is_predicted ? "" : "nearest: "}${genre.name} ${percent(genre.probability)}`).join(", ");
  announce(`${name}: ${answer.unsure ? "unsure, " : ""}${named}`);
  explaining = explaining.then(() => explain(card, answer.genres, buttons, content));
}

const percent = share => `${Math.round(100 * share)}%`;

function addGenre(card, genre) {
  const row = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = genre.name;
  button.disabled = true;
  const track = document.createElement("span");
  track.className = "track";
  const bar = document.createElement("span");
  bar.style.setProperty("--share", genre.probability);
  track.append(bar);
  const share = document.createElement("span");
  share.className = "share";
  share.textContent = percent(genre.probability);
  if (!genre.is_predicted) row.className = "nearest";
  row.append(button, track, share);
  card.querySelector(".genres").append(row);
  return button;
}

function showSimilar(card, films) {
  if (!films.length) return;
  const list = card.querySelector(".similar ol");
  for (const film of films) {
    const item = document.createElement("li");
    if (HAS_PICTURES) {
      const image = document.createElement("img");
      image.alt = "";
      image.src = `api/films/${film.imdb_id}/poster`;
      image.addEventListener("error", () => image.remove());
      item.append(image);
    }
    const title = document.createElement("strong");
    title.textContent = film.title;
    item.append(title, document.createElement("br"), `${film.genres.join(", ")} (${film.similarity.toFixed(2)})`);
    list.append(item);
  }
  card.querySelector(".similar").hidden = false;
}

// Heat maps.

async function explain(card, genres, buttons, content) {
  const hint = card.querySelector(".hint");
  show(hint, "Looking for the evidence …");
  const query = new URLSearchParams(genres.map(genre => ["genre", genre.name]));
  let found;
  try {
    found = await send(`api/evidence?${query}`, content, content.type || "application/octet-stream");
  } catch (error) {
    show(hint, `No heat map: ${error.message}`);
    return;
  }
  show(hint, "Press a genre to see where the evidence for it is.");
  buttons.forEach((button, number) => {
    button.disabled = false;
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      const pressed = button.getAttribute("aria-pressed") !== "true";
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button && pressed));
      card.querySelector("figure").classList.toggle("explained", pressed);
      const canvas = card.querySelector("canvas");
      canvas.hidden = !pressed;
      if (pressed) draw(canvas, found.evidence[number]);
      announce(pressed ? describe(genres[number].name, found.evidence[number]) : "");
    });
  });
}

function draw(canvas, rows) {
  canvas.width = rows[0].length;
  canvas.height = rows.length;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(canvas.width, canvas.height);
  const strongest = Math.max(STRONG, ...rows.flat());
  rows.flat().forEach((value, cell) => {
    picture.data.set([...HEAT, 200 * Math.max(0, value / strongest)], 4 * cell);
  });
  context.putImageData(picture, 0, 0);
}

function describe(genre, rows) {
  // For those who can't see the picture.
  const cells = rows.flat();
  const cell = cells.indexOf(Math.max(...cells));
  const row = Math.floor(cell / rows[0].length) / rows.length;
  const column = (cell % rows[0].length) / rows[0].length;
  const place = (share, names) => names[Math.min(2, Math.floor(3 * share))];
  return `Most evidence for ${genre}: ${place(row, ["top", "middle", "bottom"])}, ${place(column, ["left", "centre", "right"])}`;
}

// What a person does.

const drop = document.getElementById("drop");
const addFiles = list => [...list].forEach(addFile);
for (const id of ["files", "photo"]) {
  const input = document.getElementById(id);
  input.addEventListener("change", () => {
    addFiles(input.files);
    input.value = "";
  });
}
function addDropped(transfer) {
  // Lines with # are comments (RFC 2483).
  const address = transfer.getData("text/uri-list").split(/\r?\n/).find(line => line && !line.startsWith("#"));
  if (transfer.files.length) addFiles(transfer.files);
  else if (address) addAddress(address.trim());
}
for (const type of ["dragover", "dragleave", "drop"])
  document.addEventListener(type, event => {
    if (event.target.id === "address") return;
    event.preventDefault();
    drop.classList.toggle("over", type === "dragover");
    if (type === "drop") addDropped(event.dataTransfer);
  });
document.addEventListener("paste", event => {
  const text = event.clipboardData.getData("text/plain").trim();
  if (event.clipboardData.files.length) addFiles(event.clipboardData.files);
  else if (event.target.id !== "address" && /^https?:\/\/\S+$/.test(text)) addAddress(text);
});
document.getElementById("address-form").addEventListener("submit", event => {
  event.preventDefault();
  const input = document.getElementById("address");
  addAddress(input.value);
  input.value = "";
});
