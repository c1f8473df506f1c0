/**
 * Finds the training picture that is nearest to a generated one, with the same distance as training/evaluate.py: the squared error of sRGB
 * between 32×32 thumbnails. The training pictures are all subjects, plain and mirrored, on every background colour. The generated
 * thumbnail is also shifted by one pixel, and the least distance counts. The background of the generated picture is the palette colour nearest
 * to the median of its four corners. Pure.
 */
import { gunzipSync } from 'node:zlib'

/** The file that `evaluate.py --write` writes for the browser. */
export interface Evaluation {
  readonly palette: Readonly<Record<string, readonly [number, number, number]>>
  readonly corner: number
  readonly subjects: readonly string[]
  readonly prompts: readonly {
    readonly prompt: string
    readonly subject: number
    readonly colour: string
    readonly seed: number
  }[]
  readonly thumbnails: { readonly shape: readonly [number, number, number, number]; readonly data: string }
}

/** RGBA pixels, 0…255. */
export interface Picture {
  readonly width: number
  readonly height: number
  readonly data: ArrayLike<number>
}

/** Judges pictures by the training pictures of one evaluation. */
export class Judge {
  readonly #evaluation: Evaluation
  readonly #size: number
  /** Every subject, plain and mirrored, on every background colour: RGB in 0…1. */
  readonly #references: { readonly subject: number; readonly pixels: Float32Array }[] = []

  constructor(evaluation: Evaluation) {
    this.#evaluation = evaluation
    const [count, size] = evaluation.thumbnails.shape
    this.#size = size
    const bytes = gunzipSync(Buffer.from(evaluation.thumbnails.data, 'base64'))
    for (let subject = 0; subject < count; subject++) {
      for (const mirrored of [false, true]) {
        for (const colour of Object.values(evaluation.palette)) {
          const pixels = new Float32Array(size * size * 3)
          for (let y = 0; y < size; y++) {
            for (let x = 0; x < size; x++) {
              const from = ((subject * size + y) * size + (mirrored ? size - 1 - x : x)) * 4
              const through = 1 - (bytes[from + 3] ?? 0) / 255
              for (let c = 0; c < 3; c++)
                pixels[(y * size + x) * 3 + c] = ((bytes[from + c] ?? 0) + through * (colour[c] ?? 0)) / 255
            }
          }
          this.#references.push({ subject, pixels })
        }
      }
    }
  }

  /** Index of the subject of the nearest training picture. */
  nearest(picture: Picture): number {
    const small = this.#thumbnail(picture)
    const size = this.#size
    let best = Infinity
    let found = -1
    for (let dy = -1; dy <= 1; dy++) {
      for (let dx = -1; dx <= 1; dx++) {
        const moved = new Float32Array(small.length)
        for (let y = 0; y < size; y++) {
          for (let x = 0; x < size; x++) {
            const from = (clamp(y + dy, size) * size + clamp(x + dx, size)) * 3
            for (let c = 0; c < 3; c++) moved[(y * size + x) * 3 + c] = small[from + c] ?? 0
          }
        }
        for (const { subject, pixels } of this.#references) {
          let sum = 0
          for (let i = 0; i < pixels.length && sum < best; i++) sum += ((moved[i] ?? 0) - (pixels[i] ?? 0)) ** 2
          if (sum < best) [best, found] = [sum, subject]
        }
      }
    }
    return found
  }

  /** Name of the palette colour that is nearest to the colour of the corners. */
  background({ width, height, data }: Picture): string {
    const { corner, palette } = this.#evaluation
    const channels: number[][] = [[], [], []]
    for (const top of [0, height - corner]) {
      for (const left of [0, width - corner]) {
        for (let y = top; y < top + corner; y++) {
          for (let x = left; x < left + corner; x++)
            for (const [c, values] of channels.entries()) values.push(data[(y * width + x) * 4 + c] ?? 0)
        }
      }
    }
    const middle = channels.map(median)
    const distance = (colour: readonly number[]) => colour.reduce((sum, value, c) => sum + (value - (middle[c] ?? 0)) ** 2, 0)
    const [nearest] = Object.entries(palette).toSorted(([, a], [, b]) => distance(a) - distance(b))
    return nearest?.[0] ?? ''
  }

  #thumbnail({ width, data }: Picture): Float32Array {
    const size = this.#size
    const block = width / size
    const small = new Float32Array(size * size * 3)
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        for (let c = 0; c < 3; c++) {
          let sum = 0
          for (let v = 0; v < block; v++)
            for (let u = 0; u < block; u++) sum += data[((y * block + v) * width + x * block + u) * 4 + c] ?? 0
          small[(y * size + x) * 3 + c] = sum / (block * block * 255)
        }
      }
    }
    return small
  }
}

function clamp(value: number, size: number): number {
  return Math.min(Math.max(value, 0), size - 1)
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const half = sorted.length / 2
  return ((sorted[Math.floor(half - 0.5)] ?? 0) + (sorted[Math.floor(half)] ?? 0)) / 2
}
