/**
 * Draws the landscape in an empty picture area, in the style of an aquatint print: flat tones, each broken by grain.
 */

/** Red, green, blue, 0–255. */
export type Colour = readonly [number, number, number]

/** Tones of the hills from far to near: 0 is bare paper, 1 is full ink. */
const tones = [0.14, 0.28, 0.44, 0.64, 0.86] as const
/** The largest difference between a grain and its tone, divided by sqrt(tone · (1 − tone)). */
const grain = 0.55

/** The RGBA pixels of the drawing; the same arguments give the same pixels. */
export function drawLandscape(width: number, height: number, ink: Colour, accent: Colour): Uint8ClampedArray<ArrayBuffer> {
  const data = new Uint8ClampedArray(width * height * 4)
  const random = generator(7)
  const sun = { x: width * 0.66, y: height * 0.34, radius: Math.min(width, height) * 0.11 }
  // A page draws this before its first frame, so each column computes its ridges once: the sines of every pixel would take a tenth of a second.
  const ridges = tones.map((_, layer) => Float64Array.from({ length: width }, (_column, x) => ridge(layer, x / width)))
  let at = 0
  for (let y = 0; y < height; y++) {
    const v = y / height
    for (let x = 0; x < width; x++) {
      let layer = tones.length - 1
      while (layer >= 0 && v <= (ridges[layer]?.[x] ?? 0)) layer--
      const inSun = layer < 0 && Math.abs(y - sun.y) < sun.radius && Math.hypot(x - sun.x, y - sun.y) < sun.radius
      // The sky fades towards the horizon; the sun has the accent colour.
      const tone = layer >= 0 ? (tones[layer] ?? 0) : inSun ? 0.72 : 0.11 * (1 - v)
      const colour = inSun ? accent : ink
      // Middle tones have the most grain, as in a real aquatint; bare paper and full ink have none.
      const spread = grain * Math.sqrt(tone * (1 - tone)) * (random() + random() - 1)
      data[at++] = colour[0]
      data[at++] = colour[1]
      data[at++] = colour[2]
      data[at++] = 255 * (tone + spread)
    }
  }
  return data
}

/** The vertical position of a ridge, from 0 (top) to 1 (bottom), at the horizontal position `u` from 0 to 1. */
function ridge(layer: number, u: number): number {
  const base = 0.46 + layer * 0.115
  const swell = Math.sin(u * (3.1 + layer * 0.9) + layer * 2.1) * 0.05
  const rock = Math.sin(u * (11 - layer) + layer * 4.7) * 0.014
  return base + swell + rock
}

/** Uniform numbers in [0, 1) from a 32-bit xorshift. Seeded, so that the grain stays in place when the drawing is repeated. */
function generator(seed: number): () => number {
  let state = seed
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 4294967296
  }
}
