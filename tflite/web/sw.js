/* Lets the page open without a network: each answer of web.py is kept, and used when the server is away. */

const CACHE = "keras_osnet", PAGE = ["./", "app.js", "network.js", "photos.js", "gallery.js", "thresholds.js",
  "style.css", "manifest.json", "icon.svg"];

addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(PAGE)).then(() => skipWaiting()));
});
addEventListener("activate", (event) => event.waitUntil(clients.claim()));

async function answered(request) {
  const cache = await caches.open(CACHE), address = request.url.replace(/[?#].*/, ""); // one answer for each file
  try {
    const answer = await fetch(request);
    // Another program may be served at this address later. The storage may be full.
    if (answer.ok && answer.headers.has("Keras-OSNet")) await cache.put(address, answer.clone()).catch(() => {});
    return answer;
  } catch (error) {
    const kept = await cache.match(address);
    if (kept) return kept;
    throw error;
  }
}

addEventListener("fetch", (event) => {
  if (event.request.method === "GET") event.respondWith(answered(event.request));
});
