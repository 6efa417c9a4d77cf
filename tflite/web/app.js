/* The page: camera and photos, a box around a person, who that is, and the gallery. */

import { Gallery, changed, changing, checkedName, keyOf, quantized } from "./gallery.js";
import { loadNetwork } from "./network.js";
import { decoded } from "./photos.js";
import { DEFAULT, proposed } from "./thresholds.js";

const at = (id) => document.getElementById(id);
const PAUSE = 200, TAP = 8; // milliseconds between two answers; pixels that a finger moves in a tap
const KINDS = { webgpu: "GPU", wasm: "CPU" };
const CAMERA = {
  NotAllowedError: "The camera was refused. Allow it in the settings of the browser for this page, or choose photos.",
  NotFoundError: "There is no camera. Choose photos instead.",
  NotReadableError: "The camera is used by another program. Close it, or choose photos.",
};
let network, gallery, feature, threshold, stream, box, pictures = [], picture, facing = "environment";
let busy = false, again = false, boxes = 0, opened = 0; // counts of boxes, and of cameras that were opened or closed

/* Names become text, never markup. */
function make(tag, attributes, ...children) {
  const node = Object.assign(document.createElement(tag), attributes);
  node.append(...children);
  return node;
}

function say(text) {
  at("message").textContent = text;
  at("message").hidden = !text;
}

/* Runs an action, and shows its error. */
const guarded = (action) => async (...given) => {
  say("");
  try {
    await action(...given);
  } catch (error) {
    say(error.message || String(error));
  }
};

/* ---- camera and photos ---- */

function source() {
  if (stream) return { image: at("video"), width: at("video").videoWidth, height: at("video").videoHeight };
  return { image: at("picture"), width: at("picture").width, height: at("picture").height };
}

function show() {
  const { width, height } = source(), shown = Boolean(width && (stream || picture));
  at("stage").classList.toggle("empty", !shown);
  Object.assign(at("stage").style, shown
    ? { aspectRatio: `${width} / ${height}`, maxWidth: `calc(var(--tall) * ${width / height})` } : { aspectRatio: "", maxWidth: "" });
  for (const [id, seen] of Object.entries({ video: shown && stream, picture: shown && !stream, welcome: !shown, hint: shown,
    whole: shown, box: shown && box, strip: pictures.length > 1 && !stream })) at(id).hidden = !seen;
  at("camera").textContent = stream ? "Stop" : "Camera";
  if (!box || !shown) return;
  const [left, top, right, bottom] = box;
  Object.assign(at("box").style, { left: `${(100 * left) / width}%`, top: `${(100 * top) / height}%`,
    width: `${(100 * (right - left)) / width}%`, height: `${(100 * (bottom - top)) / height}%` });
}

/* A box of whole pixels within the source. */
function place(left, top, right, bottom) {
  const { width, height } = source();
  const clip = (value, most) => Math.min(Math.max(Math.round(value), 0), most);
  const inside = [clip(left, width), clip(top, height), clip(right, width), clip(bottom, height)];
  if (inside[0] < inside[2] && inside[1] < inside[3]) box = inside;
  boxes += 1;
  feature = undefined; // of the box before
  at("result").hidden = true;
  show();
}

function whole() {
  const { width, height } = source();
  return [0, 0, width, height];
}

/* The whole of an upright crop, else the middle, at half the width of its height. */
function first() {
  const { width, height } = source();
  if (width <= 0.6 * height) return whole();
  const tall = 0.9 * height;
  return [width / 2 - tall / 4, 0.05 * height, width / 2 + tall / 4, 0.95 * height];
}

function stop() {
  stream?.getTracks().forEach((track) => track.stop());
  boxes += 1;
  opened += 1;
  stream = box = feature = undefined; // nobody is added with the feature of another image
  at("turn").hidden = at("result").hidden = true;
  show();
}

async function start() {
  stop();
  if (!navigator.mediaDevices) throw new Error("The browser allows the camera on https and on 127.0.0.1 only. Choose photos instead.");
  const mine = opened;
  let own;
  try {
    own = await navigator.mediaDevices.getUserMedia({ video: { facingMode: { ideal: facing }, width: { ideal: 1280 } } });
  } catch (error) {
    throw new Error(CAMERA[error.name] ?? `The camera cannot be used: ${error.message}`);
  }
  if (mine !== opened) return own.getTracks().forEach((track) => track.stop()); // something else was chosen meanwhile
  stream = own;
  stream.getTracks()[0].addEventListener("ended", guarded(() => { stop(); throw new Error("The camera was disconnected."); }));
  at("video").srcObject = stream;
  await at("video").play();
  if (stream !== own) return;
  place(...first());
  const devices = await navigator.mediaDevices.enumerateDevices();
  at("turn").hidden = devices.filter(({ kind }) => kind === "videoinput").length < 2;
  follow(own);
}

async function follow(own) {
  while (stream === own) {
    try { // not `guarded`, which takes away what an action said
      await recognise();
    } catch (error) {
      say(error.message);
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
}

async function take(files) {
  stop();
  const mine = opened, found = [], refused = [];
  for (const file of files) {
    try {
      found.push({ file, small: thumbnail(await decoded(file)) });
    } catch (error) {
      refused.push(error.message);
    }
    if (mine !== opened) return; // something else was chosen meanwhile
  }
  if (found.length) {
    pictures = found;
    at("strip").replaceChildren(...pictures.map((one) => {
      const { name } = one.file;
      one.button = make("button", { title: name, ariaLabel: name, onclick: guarded(() => choose(one)) }, one.small);
      return one.button;
    }));
    await choose(found[0]);
  }
  if (refused.length) throw new Error(refused.join(" "));
}

/* A small canvas of a bitmap, which is closed: decoded, a hundred photos do not fit into a phone's memory. */
function thumbnail(bitmap) {
  const small = make("canvas", { height: 64, width: Math.max(1, Math.round((64 * bitmap.width) / bitmap.height)) });
  small.getContext("2d").drawImage(bitmap, 0, 0, small.width, small.height);
  bitmap.close();
  return small;
}

async function choose(chosen) {
  stop();
  const mine = opened, bitmap = await decoded(chosen.file);
  if (mine !== opened) return bitmap.close(); // something else was chosen meanwhile
  picture = chosen;
  pictures.forEach((one) => { one.button.ariaPressed = String(one === chosen); });
  Object.assign(at("picture"), { width: bitmap.width, height: bitmap.height });
  at("picture").getContext("2d", { willReadFrequently: true }).drawImage(bitmap, 0, 0);
  bitmap.close();
  place(...first());
  await recognise();
}

/* ---- box ---- */

let began;

function point({ clientX, clientY }) {
  const edges = at("stage").getBoundingClientRect(), { width, height } = source();
  return [((clientX - edges.left) / edges.width) * width, ((clientY - edges.top) / edges.height) * height];
}

at("stage").addEventListener("pointerdown", (event) => {
  if (at("stage").classList.contains("empty")) return;
  const [left, top, right, bottom] = box ?? first(); // none yet on a photo that is shown again after the camera
  began = { event, point: point(event), tall: bottom - top, wide: right - left };
  at("stage").setPointerCapture(event.pointerId);
});
at("stage").addEventListener("pointermove", (event) => {
  if (!began || Math.hypot(event.clientX - began.event.clientX, event.clientY - began.event.clientY) < TAP) return;
  const [[x, y], [toX, toY]] = [began.point, point(event)];
  began.dragged = true;
  place(Math.min(x, toX), Math.min(y, toY), Math.max(x, toX), Math.max(y, toY));
});
at("stage").addEventListener("pointerup", guarded(async () => {
  const { point: [x, y], tall, wide, dragged } = began ?? { point: [] };
  if (!began) return;
  began = undefined;
  if (!dragged) place(x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2);
  if (!stream) await recognise();
}));
at("stage").addEventListener("pointercancel", () => { began = undefined; });
at("video").addEventListener("resize", () => { if (stream) place(...first()); }); // a phone was turned

/* ---- who it is ---- */

async function recognise() {
  if (!network || !box) return;
  if (busy) {
    again = true;
    return;
  }
  const [left, top, right, bottom] = box, { image } = source(), of = boxes;
  const crop = at("crop"), pen = crop.getContext("2d", { willReadFrequently: true });
  busy = true;
  try {
    Object.assign(crop, { width: right - left, height: bottom - top });
    pen.drawImage(image, left, top, crop.width, crop.height, 0, 0, crop.width, crop.height);
    const found = await network.embed(pen.getImageData(0, 0, crop.width, crop.height));
    if (of === boxes) feature = found; // else it is of another box or image than that which is shown
  } finally {
    busy = false;
  }
  answer();
  if (again) {
    again = false;
    if (!stream) await recognise();
  }
}

function answer() {
  if (!feature) return;
  const found = gallery.search(feature).slice(0, 3);
  const known = found.length && found[0][1] >= threshold;
  at("result").hidden = false;
  at("name").textContent = known ? found[0][0] : "unknown";
  at("name").className = known ? "known" : "";
  at("score").textContent = found.length ? `cosine ${found[0][1].toFixed(3)}` : "The gallery is empty: add this person.";
  at("best").replaceChildren(...found.map(([name, near]) => make("li", {}, make("span", { title: name }, name),
    make("meter", { max: 1, value: Math.max(near, 0) }), near.toFixed(2))));
}

function list() {
  const { people } = gallery;
  at("count").textContent = people.size ? `People: ${people.size}, features: ${gallery.entries.length}` : "";
  at("people").replaceChildren(...[...people].map(([name, count]) => make("li", {}, make("span", { title: name }, name),
    make("small", { className: "soft" }, `${count}`),
    make("button", { ariaLabel: `Delete ${name}`, onclick: guarded(() => remove(name)) }, "Delete"))));
  if (!people.size) at("people").append(make("li", { className: "none" }, "Nobody yet."));
  at("export").disabled = !people.size;
  setThreshold();
}

/* Where the browser keeps the threshold that was set by hand for this network. */
const ownThreshold = () => `threshold ${keyOf(network.facts)}`;

/* The threshold that was set by hand, else the one that the gallery proposes. */
function setThreshold() {
  const own = localStorage[ownThreshold()];
  threshold = own === undefined ? proposed(gallery.entries) ?? DEFAULT : Number(own);
  at("proposed").checked = own === undefined;
  at("threshold").value = threshold;
  at("value").textContent = threshold.toFixed(2);
  answer();
}

async function change(action) {
  if (!network) throw new Error("The page is not ready yet.");
  gallery = await changing(network.facts, action);
  list();
}

async function remove(name) {
  if (confirm(`Delete all features of ${name}?`)) await change((stored) => stored.remove(name));
}

at("enrol").addEventListener("submit", (event) => {
  event.preventDefault();
  const shown = feature, name = at("who").value.trim(); // of the moment when the button was pressed
  guarded(async () => {
    if (!shown) throw new Error("The feature of this box is not computed yet.");
    await change((stored) => stored.add([{ name: checkedName(name), ...quantized(shown) }]));
    at("who").value = "";
    at("who").blur();
  })();
});
at("export").addEventListener("click", guarded(async () => {
  await change(); // another tab may have changed it
  const address = URL.createObjectURL(new Blob([await gallery.bytes()]));
  make("a", { href: address, download: "people.npz" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}));
at("import").addEventListener("change", guarded(async () => {
  const [file] = at("import").files;
  at("import").value = "";
  const content = new Uint8Array(await file.arrayBuffer());
  if (!network) throw new Error("The page is not ready yet.");
  const given = await Gallery.read(content, network.facts, file.name);
  await change((stored) => stored.add(given.entries));
}));
at("photos").addEventListener("change", guarded(async () => {
  const files = [...at("photos").files];
  at("photos").value = "";
  await take(files);
}));
at("camera").addEventListener("click", guarded(() => (stream ? stop() : start())));
at("turn").addEventListener("click", guarded(() => { facing = facing === "user" ? "environment" : "user"; return start(); }));
at("whole").addEventListener("click", guarded(async () => { place(...whole()); if (!stream) await recognise(); }));
at("threshold").addEventListener("input", () => {
  if (!network) return;
  localStorage[ownThreshold()] = at("threshold").value;
  setThreshold();
});
at("proposed").addEventListener("change", () => {
  if (!network) return;
  if (at("proposed").checked) delete localStorage[ownThreshold()];
  else localStorage[ownThreshold()] = at("threshold").value;
  setThreshold();
});
changed.addEventListener("message", () => { // by another tab
  if (network) change().catch((error) => say(error.message));
});

/* ---- start ---- */

async function ready() {
  try {
    await kept();
    const loaded = await loadNetwork(new URLSearchParams(location.search).get("accelerator"));
    gallery = await changing(loaded.facts);
    network = loaded;
    list();
    at("state").textContent = `Ready on the ${KINDS[network.accelerator]}`;
    await recognise();
  } catch (error) {
    at("state").textContent = "Not ready";
    throw error;
  }
}

/* Waits for the service worker, so that it keeps what is loaded from now on. */
async function kept() {
  if (!navigator.serviceWorker) return;
  await navigator.serviceWorker.register("sw.js");
  if (!navigator.serviceWorker.controller)
    await new Promise((resolve) => {
      navigator.serviceWorker.addEventListener("controllerchange", resolve, { once: true });
      setTimeout(resolve, 3000); // a forced reload has none
    });
}

guarded(ready)();
