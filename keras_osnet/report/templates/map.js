/* Drawn by hand: a plotting library would add megabytes to every page. */
    const PAD = 18;
    const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7a5cc4", "#b58900", "#56a4d9", "#8c564b"];
    const SHAPES = [
      (c, s) => c.arc(0, 0, s, 0, 7),
      (c, s) => c.rect(-s * 0.88, -s * 0.88, s * 1.76, s * 1.76),
      (c, s) => { c.moveTo(0, -s * 1.2); c.lineTo(s * 1.1, s * 0.85); c.lineTo(-s * 1.1, s * 0.85); c.closePath(); },
      (c, s) => { c.moveTo(0, -s * 1.3); c.lineTo(s * 1.1, 0); c.lineTo(0, s * 1.3); c.lineTo(-s * 1.1, 0); c.closePath(); },
      (c, s) => { c.moveTo(0, s * 1.2); c.lineTo(s * 1.1, -s * 0.85); c.lineTo(-s * 1.1, -s * 0.85); c.closePath(); },
      (c, s) => { c.rect(-s * 1.2, -s * 0.42, s * 2.4, s * 0.84); c.rect(-s * 0.42, -s * 1.2, s * 0.84, s * 2.4); },
    ];
    const pop = at("map-pop");
    const colour = at("map-colour");
    const person = at("map-person");
    const order = { person: new Map(), camera: new Map() };
    const numbered = (map, key) => map.get(key) ?? map.set(key, map.size).get(key);
    const points = data.map.map(([row, x, y]) => ({ row, x, y, about: data.images[row] }));
    points.map((p) => p.about[2]).sort((a, b) => a - b).forEach((c) => numbered(order.camera, c));
    points.map((p) => p.about[1]).filter((name) => name !== "distractor").forEach((name) => numbered(order.person, name));
    let current = null;

    const style = (point) => {
      const by = colour && colour.value === "camera" ? order.camera.get(point.about[2]) : order.person.get(point.about[1]);
      if (by === undefined) return ["", 0];
      const shape = colour && colour.value === "camera" ? by : Math.floor(by / COLOURS.length);
      return [COLOURS[by % COLOURS.length], shape % SHAPES.length];
    };
    const place = (point, box) => [PAD + point.x * (box.width - 2 * PAD), PAD + point.y * (box.height - 2 * PAD)];

    function mark(context, point, box, size, strong) {
      const [tone, shape] = style(point);
      const [x, y] = place(point, box);
      context.save();
      context.translate(x, y);
      context.beginPath();
      SHAPES[shape](context, size);
      context.fillStyle = tone || getComputedStyle(canvas).color;
      context.globalAlpha = strong ? 0.9 : 0.18;
      if (!tone) context.globalAlpha *= 0.45;
      context.fill();
      context.restore();
    }

    redraw = () => {
      const box = canvas.getBoundingClientRect();
      const ratio = devicePixelRatio || 1;
      canvas.width = Math.round(box.width * ratio);
      canvas.height = Math.round(box.height * ratio);
      const context = canvas.getContext("2d");
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      const size = Math.max(2.6, Math.min(5, box.width / 150)) * (points.length > 900 ? 0.85 : 1);
      const chosen = current && current.about[1] !== "distractor" ? current.about[1] : person.value;
      const strong = (point) => chosen === "all" || point.about[1] === chosen;
      points.filter((p) => !strong(p)).forEach((p) => mark(context, p, box, size, false));
      points.filter(strong).forEach((p) => mark(context, p, box, chosen === "all" ? size : size * 1.4, true));
      if (!current) return;
      mark(context, current, box, size * 1.6, true);
      const [x, y] = place(current, box);
      context.beginPath();
      context.arc(x, y, size * 3, 0, 7);
      context.lineWidth = 2;
      context.strokeStyle = getComputedStyle(canvas).color;
      context.stroke();
    };

    function choose(point) {
      if (point === current) return;
      current = point;
      pop.hidden = !point;
      if (point) {
        const image = imageOf(point.row, who(point.about));
        pop.replaceChildren(image, make(
          "div", "",
          make("p", "", make("strong", "", who(point.about))),
          make("p", "", point.about[3]),
          make("p", "", point.about[0]),
        ));
        fill(image);
        const box = canvas.getBoundingClientRect();
        const [x, y] = place(point, box);
        const left = x + 16 + pop.offsetWidth > box.width ? x - 16 - pop.offsetWidth : x + 16;
        const top = y + 16 + pop.offsetHeight > box.height ? y - 16 - pop.offsetHeight : y + 16;
        pop.style.left = `${Math.max(4, Math.min(left, box.width - pop.offsetWidth - 4))}px`;
        pop.style.top = `${Math.max(4, top)}px`;
      }
      redraw();
    }

    function nearest(event, reach) {
      const box = canvas.getBoundingClientRect();
      let best = null;
      let least = reach * reach;
      for (const point of points) {
        const [x, y] = place(point, box);
        const distance = (x - event.clientX + box.left) ** 2 + (y - event.clientY + box.top) ** 2;
        if (distance < least) [best, least] = [point, distance];
      }
      return best;
    }

    /* The nearest point in a direction; what lies off it counts twice. */
    function step(dx, dy) {
      const box = canvas.getBoundingClientRect();
      const [x0, y0] = place(current, box);
      let best = current;
      let least = Infinity;
      for (const point of points) {
        const [x, y] = place(point, box);
        const along = (x - x0) * dx + (y - y0) * dy;
        const off = Math.abs((x - x0) * dy) + Math.abs((y - y0) * dx);
        if (along > 0.01 && along + 2 * off < least) [best, least] = [point, along + 2 * off];
      }
      choose(best);
    }

    function begin() {
      const middle = (p) => (p.x - 0.5) ** 2 + (p.y - 0.5) ** 2;
      choose(points.reduce((a, b) => (middle(b) < middle(a) ? b : a)));
    }

    const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    canvas.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") choose(nearest(event, 18)); });
    canvas.addEventListener("pointerdown", (event) => choose(nearest(event, event.pointerType === "mouse" ? 18 : 36)));
    canvas.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") choose(null); });
    canvas.addEventListener("focus", () => {
      if (!current && canvas.matches(":focus-visible")) begin();
    });
    canvas.addEventListener("blur", () => choose(null));
    canvas.addEventListener("keydown", (event) => {
      if (event.key === "Escape") choose(null);
      if (!(event.key in ARROWS)) return;
      event.preventDefault();
      if (current) step(...ARROWS[event.key]);
      else begin();
    });

    function legend() {
      const rows = colour && colour.value === "camera" ? [...order.camera] : [];
      at("map-legend").replaceChildren(...rows.map(([camera, number]) => {
        const swatch = document.createElement("canvas");
        swatch.width = swatch.height = 32;
        swatch.className = "swatch";
        const context = swatch.getContext("2d");
        context.translate(16, 16);
        context.fillStyle = COLOURS[number % COLOURS.length];
        context.beginPath();
        SHAPES[number % SHAPES.length](context, 9);
        context.fill();
        return make("li", "", swatch, `camera ${camera}`);
      }));
      at("map-people").hidden = rows.length > 0;
    }
    [colour, person].forEach((control) => control?.addEventListener("change", () => { legend(); redraw(); }));
    new ResizeObserver(() => redraw()).observe(canvas);
    legend();
