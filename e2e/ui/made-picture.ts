/** The result of a prompt box, and how close its picture is to that of diffusers. */
import { readReference } from '../../src/pipelines/testing.node.js'
import { compareTensor } from '../parity/compare.js'

export interface Outcome {
  /** RGBA, eight bits a channel, row by row from the top. */
  readonly pixels?: { readonly width: number; readonly height: number; readonly data: readonly number[] } | undefined
  readonly warnings?: readonly string[]
  readonly code?: string
  readonly message?: string
}

/** PSNR in dB against `image` of a fixture's reference file. Throws where there is no picture, or one of another size. */
export function psnr({ pixels, code, message }: Outcome, file: string): number {
  const { image: reference } = readReference(file)
  if (reference === undefined || pixels === undefined) throw new Error(`No image: ${code} ${message}`)
  const data = Float32Array.from(
    pixels.data.filter((_, index) => index % 4 !== 3),
    (value) => value / 255,
  )
  const { psnr: decibels, reason } = compareTensor('image', reference, { dims: [1, pixels.height, pixels.width, 3], data })
  if (decibels === undefined) throw new Error(reason)
  return decibels
}
