/* Images as the network takes them, and their features by LiteRT.js. */

const BITS = 22; // Pillow's fixed point for images of 8 bits

/* Weights of Pillow's bilinear filter, widened where it shrinks: [first, whole numbers] for each output pixel. */
function filterOf(size, target) {
  const scale = size / target, support = Math.max(scale, 1);
  return Array.from({ length: target }, (_, i) => {
    const center = (i + 0.5) * scale;
    const first = Math.max(Math.trunc(center - support + 0.5), 0);
    const end = Math.min(Math.trunc(center + support + 0.5), size);
    const weights = Array.from({ length: end - first }, (_, j) =>
      Math.max(1 - Math.abs((first + j - center + 0.5) / support), 0));
    const sum = weights.reduce((a, b) => a + b, 0);
    return [first, weights.map((weight) => Math.trunc(0.5 + (weight / sum) * 2 ** BITS))];
  });
}

/* Resizes one axis. `stride` separates its pixels, `rows` and `rowStride` are the count and distance of its lines. */
function resizeAxis(source, target, filter, [stride, outStride], rows, [rowStride, outRowStride]) {
  for (let row = 0; row < rows; row += 1) {
    filter.forEach(([first, weights], i) => {
      for (let channel = 0; channel < 3; channel += 1) {
        let sum = 2 ** (BITS - 1), at = row * rowStride + first * stride + channel;
        for (const weight of weights) {
          sum += source[at] * weight;
          at += stride;
        }
        target[row * outRowStride + i * outStride + channel] = Math.floor(sum / 2 ** BITS); // clamped by its type
      }
    });
  }
}

/* RGBA pixels (ImageData) as RGB of another size, equal to Pillow's Image.resize(..., BILINEAR). */
export function resize({ data, width, height }, toWidth, toHeight) {
  const narrow = new Uint8ClampedArray(height * toWidth * 3), small = new Uint8ClampedArray(toHeight * toWidth * 3);
  resizeAxis(data, narrow, filterOf(width, toWidth), [4, 3], height, [4 * width, 3 * toWidth]);
  resizeAxis(narrow, small, filterOf(height, toHeight), [3 * toWidth, 3 * toWidth], toWidth, [3, 3]);
  return new Uint8Array(small.buffer);
}

export const cosine = (a, b) => {
  let ab = 0, aa = 0, bb = 0;
  a.forEach((value, i) => { ab += value * b[i]; aa += value * value; bb += b[i] * b[i]; });
  return ab / Math.sqrt(aa * bb);
};

/* A compiled TFLite file: `embed` returns the feature of an ImageData. */
export class Network {
  static async load(facts, accelerator, runtime) {
    const network = new Network();
    Object.assign(network, { facts, accelerator, Tensor: runtime.Tensor });
    try {
      network.model = await runtime.loadAndCompile("model.tflite", { accelerator, gpuOptions: { precision: "fp32" } });
    } catch (error) {
      throw new Error(`${facts.network} is not a TFLite network that LiteRT.js can run: ${error.message ?? error}`);
    }
    if (accelerator === "webgpu" && !network.model.isFullyAccelerated) throw new Error("The GPU lacks an op of the file.");
    await network.check();
    return network;
  }

  /* Compares the feature of an image of known pixels with Python's. A GPU computes int8 files in float. */
  async check() {
    const { height, width, expected, least } = this.facts;
    const pixels = new Uint8Array(height * width * 3);
    for (let y = 0, i = 0; y < height; y += 1) for (let x = 0; x < width; x += 1)
      for (let channel = 0; channel < 3; channel += 1, i += 1) pixels[i] = (3 * y + 5 * x + 80 * channel) % 256;
    const near = cosine(await this.run(pixels), expected);
    if (!(near >= least)) throw new Error(`${this.facts.network} computes other features on ${this.accelerator} than `
      + `in Python: cosine ${near.toFixed(4)}.`);
  }

  async run(pixels) {
    const { height, width, network } = this.facts;
    const input = new this.Tensor(pixels, [1, height, width, 3]);
    const { features } = await this.model.run("embed", { picture: input });
    const feature = await features.data();
    input.delete();
    features.delete();
    if (!feature.every(Number.isFinite) || !feature.some(Boolean))
      throw new Error(`${network} must compute features that are finite and not all zero. It does not on this ${this.accelerator}.`);
    return Float32Array.from(feature);
  }

  embed(image) {
    return this.run(resize(image, this.facts.width, this.facts.height));
  }
}

/* The network on WebGPU, where a GPU is there and right; else on the processor. `wanted` names one of the two. */
export async function loadNetwork(wanted) {
  const [facts, runtime] = await Promise.all([
    fetch("model.json").then((answer) => answer.json()), import("./runtime/core/dist/index.js")]);
  if (!runtime.getGlobalLiteRtPromise()) {
    // LiteRT writes its notices to the error stream, as that there is no NPU.
    self.Module = { printErr: (line) => console[/^(INFO|WARNING|[IW]\d)/.test(line) ? "debug" : "error"](line) };
    await runtime.loadLiteRt(new URL("runtime/core/wasm/", location).href);
  }
  const adapter = wanted !== "wasm" && await navigator.gpu?.requestAdapter().catch(() => null);
  const software = adapter?.info?.isFallbackAdapter || /swiftshader|llvmpipe/i.test(Object.values(adapter?.info ?? {}));
  if (wanted === "webgpu" && !adapter) throw new Error("This browser has no WebGPU adapter.");
  if (wanted === "webgpu" || (adapter && !software)) {
    try {
      return await Network.load(facts, "webgpu", runtime);
    } catch (error) {
      if (wanted) throw error; // else the processor computes
    }
  }
  return Network.load(facts, "wasm", runtime);
}
