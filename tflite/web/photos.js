/* Photos with the levels of their files. As in Python, transparency is ignored: below it, files hold levels too. */

const LARGEST = 2 ** 25; // pixels of a photo
// A PNG that is to be turned as its EXIF data say: browsers turn the image, and lose the levels of transparent pixels.
const TURNED = /eXIf(II[^]*?\x12\x01\x03\0\x01\0\0\0[\x02-\x08]|MM[^]*?\x01\x12\0\x03\0\0\0\x01\0[\x02-\x08])/;
const FORM = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
// A PNG of one transparent pixel, RGBA (200, 100, 50, 0).
const CLEAR = atob("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGM4kWLEAAAEtQFfoI2A0AAAAABJRU5ErkJggg==");

function isOpaque(bitmap) {
  const { width, height } = bitmap, canvas = Object.assign(document.createElement("canvas"), { width, height });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(bitmap, 0, 0);
  // Alpha is the last byte of a pixel, and so the first of its number.
  return new Uint32Array(pen.getImageData(0, 0, width, height).data.buffer).every((pixel) => pixel >= 0xff000000);
}

/* The RGBA levels of bitmaps by WebGL, for a 2D canvas changes transparent ones; none where it cannot read them. */
function levels(bitmaps) {
  const gl = document.createElement("canvas").getContext("webgl");
  const found = gl ? bitmaps.map((bitmap) => {
    const { width, height } = bitmap, texture = gl.createTexture(), data = new Uint8Array(4 * width * height);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
    gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, data);
    return data;
  }) : [];
  const failed = gl?.getError(); // of an image that is larger than a texture may be
  gl?.getExtension("WEBGL_lose_context")?.loseContext(); // a page may have few
  return failed ? [] : found;
}

/* A transparent image without its transparency; none where the browser has lost the levels below it. */
async function opaque(file, bitmap) {
  const text = new TextDecoder("latin1").decode(await file.arrayBuffer());
  if ((text.slice(1, 4) !== "PNG" && !text.startsWith("RIFF")) || TURNED.test(text)) return undefined;
  const clear = await createImageBitmap(new Blob([Uint8Array.from(CLEAR, (one) => one.charCodeAt())]), FORM);
  const [data, known] = levels([bitmap, clear]);
  clear.close();
  if (String(known) !== "200,100,50,0") return undefined;
  for (let i = 3; i < data.length; i += 4) data[i] = 255;
  return createImageBitmap(new ImageData(new Uint8ClampedArray(data.buffer), bitmap.width, bitmap.height));
}

/* An image file as a bitmap, upright and opaque. It takes 4 bytes a pixel until it is closed. */
export async function decoded(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, FORM);
  } catch {
    throw new Error(`${file.name} cannot be read as an image.`);
  }
  if (bitmap.width * bitmap.height > LARGEST) {
    bitmap.close();
    throw new Error(`${file.name} has too many pixels.`);
  }
  if (String(new Uint8Array(await file.slice(0, 2).arrayBuffer())) === "255,216") return bitmap; // a JPEG
  if (isOpaque(bitmap)) return bitmap;
  const found = await opaque(file, bitmap);
  bitmap.close();
  if (!found) throw new Error(`${file.name} is transparent, and this browser cannot read its colours there. `
    + "Save it without transparency, for example as a JPEG.");
  return found;
}
