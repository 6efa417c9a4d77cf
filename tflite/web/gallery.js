/* The gallery format of gallery.py: NumPy's .npz, stored, whose zip comment is the SHA-256 of all bytes before it. */

const HEX = 64, FORMAT = 1, LONGEST = 255, LARGEST = 2 ** 28;
const utf8 = new TextEncoder(), text = new TextDecoder();

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const CRC = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});
const crc32 = (bytes) => ~bytes.reduce((crc, byte) => CRC[(crc ^ byte) & 255] ^ (crc >>> 8), ~0) >>> 0;

function joined(parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) { all.set(part, at); at += part.length; }
  return all;
}

/* Little-endian numbers: [bytes of each, value] pairs. */
function packed(...fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of fields) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  }
  return new Uint8Array(view.buffer);
}

function npy(descr, shape, bytes) {
  const start = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape.join(", ")}${shape.length === 1 ? "," : ""}), }`;
  const header = utf8.encode(`${start.padEnd(Math.ceil((start.length + 11) / 64) * 64 - 11)}\n`);
  return joined([Uint8Array.of(0x93), utf8.encode("NUMPY"), Uint8Array.of(1, 0), packed([2, header.length]), header, bytes]);
}

function unicode(strings, shape) {
  const points = strings.map((string) => Array.from(string, (one) => one.codePointAt(0)));
  const longest = Math.max(1, ...points.map((one) => one.length));
  const units = new Uint32Array(strings.length * longest);
  points.forEach((one, i) => units.set(one, i * longest));
  return npy(`<U${longest}`, shape, new Uint8Array(units.buffer));
}

function zip(files) {
  const locals = [], central = [];
  let offset = 0;
  for (const [name, content] of Object.entries(files)) {
    const path = utf8.encode(`${name}.npy`);
    const fields = [[2, 20], [2, 0], [2, 0], [2, 0], [2, 33], [4, crc32(content)], [4, content.length], [4, content.length],
      [2, path.length], [2, 0]]; // version 2.0, stored, 1980-01-01
    locals.push(packed([4, 0x04034b50], ...fields), path, content);
    central.push(packed([4, 0x02014b50], [2, 20], ...fields, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]), path);
    offset += 30 + path.length + content.length;
  }
  const count = Object.keys(files).length, directory = joined(central);
  const end = packed([4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, directory.length], [4, offset], [2, HEX]);
  return joined([...locals, directory, end]);
}

/* Arrays by name of a stored zip without its comment. */
function unzip(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length), end = bytes.length - 22, arrays = {};
  if (view.getUint32(end, true) !== 0x06054b50) throw new Error("it is no zip");
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left; left -= 1) {
    const [size, name, extra, comment] = [[at + 20, 4], [at + 28, 2], [at + 30, 2], [at + 32, 2]].map(
      ([where, length]) => length === 4 ? view.getUint32(where, true) : view.getUint16(where, true));
    if (view.getUint16(at + 10, true)) throw new Error("it is compressed");
    const local = view.getUint32(at + 42, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    arrays[text.decode(bytes.subarray(at + 46, at + 46 + name)).replace(/\.npy$/, "")] = array(bytes.slice(start, start + size));
    at += 46 + name + extra + comment;
  }
  return arrays;
}

const TYPES = { "|i1": Int8Array, "<f4": Float32Array, "<i8": BigInt64Array };

function array(bytes) {
  const length = new DataView(bytes.buffer).getUint16(8, true), header = text.decode(bytes.subarray(10, 10 + length));
  const [, descr, shape] = header.match(/'descr': '([^']+)', 'fortran_order': False, 'shape': \(([\d, ]*)\)/) ?? [];
  if (!descr || bytes[6] !== 1) throw new Error("it holds an array of another kind");
  const sides = shape.split(",").filter((side) => side.trim()).map(Number), count = sides.reduce((a, b) => a * b, 1);
  const data = bytes.slice(10 + length).buffer, longest = Number(descr.match(/^<U(\d+)$/)?.[1]);
  if (!longest) return { shape: sides, values: new TYPES[descr](data, 0, count) };
  const units = new Uint32Array(data, 0, count * longest);
  const values = Array.from({ length: count }, (_, i) =>
    String.fromCodePoint(...units.subarray(i * longest, (i + 1) * longest)).replace(/\0+$/, ""));
  return { shape: sides, values };
}

/* As Python and NumPy order strings: by code points. */
function byName({ name: a }, { name: b }) {
  const [x, y] = [a, b].map((name) => Array.from(name, (one) => one.codePointAt(0)));
  const i = x.findIndex((point, place) => point !== y[place]);
  return i < 0 ? x.length - y.length : x[i] - (y[i] ?? -1);
}

export function checkedName(given) {
  const name = given.normalize("NFC");
  if (!name.trim() || /[\p{C}\p{Zl}\p{Zp}/\\]|(?! )\p{Zs}/u.test(name) || ["unknown", ".", ".."].includes(name) || [...name].length > LONGEST)
    throw new Error(`A name must be printable, not "unknown", without slashes, and of 1 to ${LONGEST} characters.`);
  return name;
}

/* A loop: with a callback for each value, the threshold of some hundred features would take seconds. */
export function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += a[i] * b[i];
  return sum;
}

/* int8 values q = round(127 f / max |f|), and 1 / |q|, with which they have length 1. */
export function quantized(feature) {
  const most = feature.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const values = Int8Array.from(feature, (value) => Math.round((127 * value) / most));
  return { values, scale: Math.fround(1 / Math.hypot(...values)) };
}

/* Height x width of a network's images. */
const sizeOf = (owner) => `${owner.height}x${owner.width}`;

/* Known people: entries { name, values, scale }, sorted by name. `owner` holds model, network, weights, height, width. */
export class Gallery {
  constructor(owner, entries = []) {
    Object.assign(this, { owner, entries });
  }

  static async read(bytes, owner, file = "The file") {
    const body = bytes.subarray(0, -HEX);
    if (bytes.length < 22 + HEX || bytes.length > LARGEST || await sha256(body) !== text.decode(bytes.subarray(-HEX)))
      throw new Error(`${file} is no gallery, or was changed or cut short: its SHA-256 does not fit.`);
    let found;
    try {
      found = unzip(body);
      if (Number(found.format.values[0]) !== FORMAT) throw new Error(`it is of format ${found.format.values[0]}`);
      found.count = found.names.shape[0];
      const [rows, size] = found.features.shape;
      if (rows !== found.count || found.scales.shape[0] !== found.count) throw new Error("its arrays do not fit each other");
      found.entries = found.names.values.map((name, i) => ({
        name, values: found.features.values.slice(i * size, (i + 1) * size), scale: found.scales.values[i],
      }));
      for (const { name, values, scale } of found.entries)
        if (checkedName(name) !== name || !(Math.abs(Math.hypot(...values) * scale - 1) < 1e-5))
          throw new Error("it must hold features of length 1 under allowed names");
    } catch (error) {
      throw new Error(`${file} is no gallery: ${error.message}.`);
    }
    const [model, weights, network] = ["model", "weights", "network"].map((key) => found[key]?.values[0] ?? "");
    if (!(owner.weights && weights === owner.weights) && model !== owner.model)
      throw new Error(`${file} holds features of another network, ${network || "unnamed"}, which cannot be compared with those of ${owner.network}.`);
    const size = found.size?.values[0], own = sizeOf(owner); // files of earlier versions have none
    if (size && size !== own)
      throw new Error(`${file} holds features of images of ${size}, which cannot be compared with those of ${own}.`);
    return new Gallery(owner, found.entries);
  }

  async bytes() {
    const { entries, owner } = this, count = entries.length, size = count ? entries[0].values.length : 0;
    const features = joined(entries.map(({ values }) => new Uint8Array(values.buffer, values.byteOffset, size)));
    const body = zip({
      format: npy("<i8", [], new Uint8Array(BigInt64Array.of(BigInt(FORMAT)).buffer)),
      model: unicode([owner.model], []), network: unicode([owner.network], []), weights: unicode([owner.weights], []),
      size: unicode([sizeOf(owner)], []),
      names: unicode(entries.map(({ name }) => name), [count]),
      features: npy("|i1", [count, size], features),
      scales: npy("<f4", [count], new Uint8Array(Float32Array.from(entries, ({ scale }) => scale).buffer)),
    });
    return joined([body, utf8.encode(await sha256(body))]);
  }

  /* Adds entries that are not there, and returns how many. One image of two people is refused. */
  add(entries) {
    const known = new Map(this.entries.map((entry) => [entry.values.join(), entry.name])), added = [];
    for (const entry of entries) {
      const key = entry.values.join(), other = known.get(key);
      if (other !== undefined && other !== entry.name) throw new Error(`This image is in the gallery as ${other}.`);
      if (other === undefined) added.push(entry);
      known.set(key, entry.name);
    }
    this.entries = [...this.entries, ...added].sort(byName);
    return added.length;
  }

  remove(name) {
    this.entries = this.entries.filter((entry) => entry.name !== name);
  }

  /* Names with the count of their features. */
  get people() {
    const counts = new Map();
    for (const { name } of this.entries) counts.set(name, (counts.get(name) ?? 0) + 1);
    return counts;
  }

  /* [name, cosine] of each person by the most similar feature, the most similar person first. */
  search(feature) {
    const length = Math.hypot(...feature), best = new Map();
    for (const { name, values, scale } of this.entries) {
      const near = (dot(values, feature) * scale) / length;
      best.set(name, Math.max(best.get(name) ?? -1, near));
    }
    return [...best].sort((a, b) => b[1] - a[1]);
  }
}

function database() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("keras_osnet", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("galleries");
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function stored(mode, action) {
  const base = await database();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = base.transaction("galleries", mode), request = action(transaction.objectStore("galleries"));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    base.close();
  }
}

export const changed = new BroadcastChannel("gallery"); // tells the other tabs
const oldKey = (owner) => owner.weights || owner.model; // of earlier versions
export const keyOf = (owner) => `${oldKey(owner)} ${sizeOf(owner)}`;

/* Reads the gallery of a network's weights and size from the browser's storage, lets `change` change it, and stores it. */
export function changing(owner, change) {
  const key = keyOf(owner), old = oldKey(owner);
  return navigator.locks.request("gallery", async () => {
    const found = (name) => stored("readonly", (store) => store.get(name));
    const bytes = (await found(key)) ?? (await found(old));
    const gallery = bytes ? await Gallery.read(bytes, owner, "The stored gallery") : new Gallery(owner);
    if (change) {
      await change(gallery);
      const content = await gallery.bytes();
      await stored("readwrite", (store) => { // one transaction: who is deleted stays under no key
        store.delete(old);
        return store.put(content, key);
      });
      changed.postMessage(key);
    }
    return gallery;
  });
}
