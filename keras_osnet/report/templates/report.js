"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);

  function make(tag, cls, ...children) {
    const node = document.createElement(tag);
    if (cls) node.className = cls;
    node.append(...children);
    return node;
  }

  /* Images: [file name, person, camera or null, "query" or "gallery", base64 or null], by row. */
  const who = ([, person, camera]) => person + (camera === null ? "" : `, camera ${camera}`);

  function imageOf(row, alt) {
    const image = make("img", "person");
    image.width = 48;
    image.height = 96;
    image.dataset.image = row;
    image.alt = alt;
    return image;
  }

  function fill(image) {
    const { drawn, image: row } = image.dataset;
    const content = drawn === undefined ? data.images[row][4] : data.drawn[drawn];
    if (content) {
      image.src = "data:image/jpeg;base64," + content;
      return;
    }
    const gone = make("span", "gone", `missing: ${data.images[row][0]}`);
    gone.setAttribute("role", "img");
    gone.setAttribute("aria-label", `${image.alt}. The file cannot be read.`);
    image.replaceWith(gone);
  }

  /* What is far from the window stays empty: thousands of decoded images would make the page slow. */
  const waiting = new Map();
  const observer = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => arrive(entry.target)),
    { rootMargin: "500px 0px" },
  );
  function whenNear(node, then) {
    waiting.set(node, then);
    observer.observe(node);
  }
  function arrive(node) {
    observer.unobserve(node);
    const then = waiting.get(node);
    waiting.delete(node);
    if (then) then(node);
  }
  addEventListener("beforeprint", () => [...waiting.keys()].forEach(arrive));
  document.querySelectorAll("img[data-image], img[data-drawn]").forEach((image) => whenNear(image, fill));

  /* Theme: what the system says, unless the reader says otherwise. */
  const theme = at("theme");
  let redraw = () => {};
  theme.addEventListener("change", () => {
    document.documentElement.dataset.theme = theme.value;
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw());

  /* Contents: the section being read. */
  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const reading = new IntersectionObserver(
    (entries) =>
      entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
        links.forEach((a) => a.removeAttribute("aria-current"));
        links.get(entry.target.id)?.setAttribute("aria-current", "true");
      }),
    { rootMargin: "-20% 0px -70% 0px" },
  );
  document.querySelectorAll("main > section").forEach((section) => reading.observe(section));

  /* Rankings. */
  const list = at("ranking-list");
  if (list) {
    const firstWord = (precision, first) =>
      precision === null ? "no match to find" : `first match at rank ${first}`;

    function show(item) {
      const [row, precision, first, hits] = data.ranking[item.dataset.entry];
      const about = data.images[row];
      const text = make(
        "div", "",
        make("p", "", make("strong", "", precision === null ? "AP –" : `AP ${precision.toFixed(2)}`)),
        make("p", "small", who(about)),
        make("p", `small ${first === 1 ? "match" : "impostor"}`, firstWord(precision, first)),
        make("p", "small", about[0]),
      );
      const images = [imageOf(row, `Query: ${who(about)}`)];
      const found = make("ol", "hits");
      hits.forEach(([hit, kind, distance], rank) => {
        const [style, sign, spoken] = data.kinds[kind];
        const image = imageOf(hit, `Rank ${rank + 1}, ${spoken}: ${who(data.images[hit])}`);
        images.push(image);
        const mark = make("span", "mark", `${sign} ${distance}`);
        const entry = make("li", style, make("span", "framed", image), mark);
        entry.title = `${data.images[hit][0]} (${who(data.images[hit])})`;
        found.append(entry);
      });
      item.append(make("div", "asked", images[0], text), found);
      item.style.minHeight = "0";
      images.forEach(fill);
      // Empty entries take as much room as the first, so that links lead to the right place.
      if (!list.style.length) list.style.setProperty("--entry", `${item.offsetHeight}px`);
    }

    const items = data.ranking.map((_, index) => {
      const item = make("li");
      item.dataset.entry = index;
      list.append(item);
      whenNear(item, show);
      return item;
    });
    arrive(items[0]);  // its height stands for that of the others
    const outcomes = {
      all: () => true,
      wrong: ([, precision, first]) => precision !== null && first !== 1,
      right: ([, precision, first]) => precision !== null && first === 1,
      lost: ([, precision, first, hits]) => precision !== null && first > hits.length,
      none: ([, precision]) => precision === null,
    };
    const camera = at("ranking-camera");
    const outcome = at("ranking-outcome");
    const filter = () => {
      let shown = 0;
      data.ranking.forEach((entry, index) => {
        const seen = (!camera || camera.value === "all" || `${data.images[entry[0]][2]}` === camera.value)
          && outcomes[outcome.value](entry);
        items[index].hidden = !seen;
        shown += seen;
      });
      at("ranking-count").textContent = `${shown} of ${items.length} queries shown`;
      at("ranking-none").hidden = shown > 0;
    };
    [camera, outcome].forEach((control) => control?.addEventListener("change", filter));
    filter();
  }

  /* The map of features. */
  const canvas = at("map");
  if (canvas) {
    {% include "map.js" %}
  }
})();
