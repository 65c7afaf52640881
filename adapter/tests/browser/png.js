// Makes the pictures of pages small: 256 colours are enough for them, and packing may take its time.

import { crc32, deflateSync, inflateSync } from "node:zlib";

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const COLOURS = 256;

/** The same picture, given and answered as a PNG, in its most frequent colours. */
export function reduced(png) {
  const { header, width, height, size, pixels } = decoded(png);
  const { palette, indexOf } = mostFrequent(pixels, size);
  const lines = Buffer.alloc((width + 1) * height);
  for (let y = 0, at = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, at += size) lines[y * (width + 1) + 1 + x] = indexOf(colourAt(pixels, at));
  }
  // Eight bits a pixel, each a place in the palette.
  header.set([8, 3], 8);
  const parts = [
    ["IHDR", header],
    ["PLTE", Buffer.from(palette.flatMap((colour) => [colour >> 16, (colour >> 8) & 255, colour & 255]))],
    ["IDAT", deflateSync(lines, { level: 9, memLevel: 9 })],
    ["IEND", Buffer.alloc(0)],
  ];
  return Buffer.concat([SIGNATURE, ...parts.flatMap(([type, data]) => chunk(type, data))]);
}

const colourAt = (pixels, at) => (pixels[at] << 16) | (pixels[at + 1] << 8) | pixels[at + 2];

/** The palette, and the place in it that is nearest to a colour. */
function mostFrequent(pixels, size) {
  const counts = new Map();
  for (let at = 0; at < pixels.length; at += size) {
    const colour = colourAt(pixels, at);
    counts.set(colour, (counts.get(colour) ?? 0) + 1);
  }
  const palette = [...counts].sort((a, b) => b[1] - a[1]).slice(0, COLOURS).map(([colour]) => colour);
  const places = new Map(palette.map((colour, place) => [colour, place]));
  const distance = (a, b) => [16, 8, 0].reduce((sum, shift) => sum + (((a >> shift) & 255) - ((b >> shift) & 255)) ** 2, 0);
  const indexOf = (colour) => {
    let place = places.get(colour);
    if (place === undefined) {
      const distances = palette.map((other) => distance(colour, other));
      place = distances.indexOf(Math.min(...distances));
      places.set(colour, place);
    }
    return place;
  };
  return { palette, indexOf };
}

function chunk(type, data) {
  const named = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  sum.writeUInt32BE(crc32(named));
  return [length, named, sum];
}

/** The pixels of a PNG as a browser writes it: eight bits a channel, not interlaced. */
function decoded(png) {
  let header;
  const packed = [];
  for (let at = SIGNATURE.length; at < png.length; ) {
    const length = png.readUInt32BE(at);
    const type = png.toString("latin1", at + 4, at + 8);
    const data = png.subarray(at + 8, at + 8 + length);
    if (type === "IHDR") header = Buffer.from(data);
    if (type === "IDAT") packed.push(data);
    at += length + 12;
  }
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)];
  const size = { 2: 3, 6: 4 }[header[9]];
  if (header[8] !== 8 || !size || header[12] !== 0) throw new Error("a kind of PNG that browsers do not write");
  return { header, width, height, size, pixels: unfiltered(inflateSync(Buffer.concat(packed)), width * size, height, size) };
}

/** Undoes what each line tells of the bytes to the left, above, and above to the left. */
function unfiltered(lines, stride, height, size) {
  const pixels = Buffer.alloc(stride * height);
  for (let y = 0; y < height; y += 1) {
    const filter = lines[y * (stride + 1)];
    for (let x = 0; x < stride; x += 1) {
      const at = y * stride + x;
      const left = x >= size ? pixels[at - size] : 0;
      const above = y > 0 ? pixels[at - stride] : 0;
      const corner = x >= size && y > 0 ? pixels[at - stride - size] : 0;
      const told = [0, left, above, (left + above) >> 1, paeth(left, above, corner)][filter];
      pixels[at] = (lines[y * (stride + 1) + 1 + x] + told) & 255;
    }
  }
  return pixels;
}

function paeth(left, above, corner) {
  const [toLeft, toAbove, toCorner] = [left, above, corner].map((one) => Math.abs(left + above - corner - one));
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}
