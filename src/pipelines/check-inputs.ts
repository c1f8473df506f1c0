/** Checks the arguments of a generation before anything runs, as diffusers' `check_inputs` does, and also the bounds of numbers. */

import { InputError, type ErrorDetail, type InputErrorCode } from '../errors.js'
import { maxImageEdge } from './latent-geometry.js'
import type { GenerateOptions, PixelImage } from './types.js'

const maxPromptLength = 1_000_000
const maxImages = 64

function refuse(code: InputErrorCode, name: string, value: unknown, allowed: string): never {
  const plain = typeof value === 'number' || typeof value === 'boolean'
  const shown: ErrorDetail = plain ? value : (JSON.stringify(value) ?? 'undefined').slice(0, 200)
  throw new InputError(code, `${name} is ${shown}; allowed: ${allowed}.`, { [name]: shown, allowed })
}

/** Checks that a prompt is text of a reasonable length. @throws InputError `prompt` */
export function checkPromptText(name: string, value: unknown): void {
  if (typeof value !== 'string') refuse('prompt', name, value, 'text')
  if (value.length > maxPromptLength)
    refuse('prompt', name, `${value.length} characters`, `at most ${maxPromptLength} characters`)
}

function checkNumber(code: InputErrorCode, name: string, value: number | undefined, min: number, max: number): void {
  if (value !== undefined && !(typeof value === 'number' && value >= min && value <= max))
    refuse(code, name, value, `numbers from ${min} to ${max}`)
}

function checkWhole(code: InputErrorCode, name: string, value: number | undefined, min: number, max: number): void {
  if (value !== undefined && !(Number.isInteger(value) && value >= min && value <= max))
    refuse(code, name, value, `whole numbers from ${min} to ${max}`)
}

function checkPair(name: string, value: readonly [number, number] | undefined): void {
  if (value === undefined) return
  if (!Array.isArray(value) || value.length !== 2 || !value.every((item) => Number.isInteger(item) && item >= 0 && item <= 1e6))
    refuse('size', name, value, 'two whole numbers from 0 to 1000000')
}

/**
 * The size of the result: the image's if there is one, otherwise the requested size, otherwise `usual`.
 * @throws InputError `image`, `size`
 */
export function resultSize(
  options: GenerateOptions,
  usual: { readonly width: number; readonly height: number },
  multiple: number,
): { readonly width: number; readonly height: number } {
  const { image, width, height } = options
  if (image === undefined) return { width: width ?? usual.width, height: height ?? usual.height }
  if (isImageList(image))
    throw new InputError('image', `image is a list of ${image.length} images; allowed is one image to start from.`, {
      images: image.length,
    })
  checkImage(image, multiple, maxImageEdge)
  if ((width ?? image.width) !== image.width || (height ?? image.height) !== image.height)
    refuse('size', 'width and height', [width ?? null, height ?? null], `those of the image, ${image.width} and ${image.height}`)
  return { width: image.width, height: image.height }
}

/** A function that gives a warning. */
export type Warn = (code: string, message: string) => void

/**
 * Rounds the given width and height down to multiples of `multiple`. It does not change a value that is no valid size, which {@link checkSize}
 * refuses.
 */
export function roundedSize<Options extends { readonly width?: number | undefined; readonly height?: number | undefined }>(
  options: Options,
  multiple: number,
  warn: Warn,
): Options {
  const rounded: { width?: number; height?: number } = {}
  for (const name of ['width', 'height'] as const) {
    const value = options[name]
    if (value === undefined || !Number.isInteger(value) || value < multiple || value % multiple === 0) continue
    rounded[name] = value - (value % multiple)
    warn('size-rounded', `${name} ${value} is no multiple of ${multiple}; the image has ${rounded[name]}, as in diffusers.`)
  }
  return { ...options, ...rounded }
}

/** Whether `image` is a list, as pipelines with reference images take it. */
export function isImageList(image: PixelImage | readonly PixelImage[]): image is readonly PixelImage[] {
  return Array.isArray(image)
}

/** Checks the size of an image in pixels. `multiple`: what width and height must be multiples of. @throws InputError `size` */
export function checkSize(size: { readonly width: number; readonly height: number }, multiple: number): void {
  for (const name of ['width', 'height'] as const) {
    const value = size[name]
    if (!Number.isInteger(value) || value < multiple || value > maxImageEdge || value % multiple !== 0)
      refuse('size', name, value, `multiples of ${multiple} from ${multiple} to ${maxImageEdge}`)
  }
}

/**
 * Checks the options on which the memory needs depend, besides the size.
 * @throws InputError `num-images-per-prompt`, `max-sequence-length`, `guidance-scale`
 */
export function checkAmounts(
  options: Pick<GenerateOptions, 'numImagesPerPrompt' | 'maxSequenceLength' | 'guidanceScale' | 'trueCfgScale'>,
): void {
  checkWhole('num-images-per-prompt', 'numImagesPerPrompt', options.numImagesPerPrompt, 1, maxImages)
  checkWhole('max-sequence-length', 'maxSequenceLength', options.maxSequenceLength, 1, 512)
  for (const name of ['guidanceScale', 'trueCfgScale'] as const)
    checkNumber('guidance-scale', name, options[name], -10_000, 10_000)
}

/** The number of images of a call. @throws InputError `num-images-per-prompt` for more than {@link maxImages} */
export function countImages(prompts: number, { numImagesPerPrompt = 1 }: Pick<GenerateOptions, 'numImagesPerPrompt'>): number {
  const count = prompts * numImagesPerPrompt
  if (count > maxImages)
    refuse('num-images-per-prompt', 'prompts × numImagesPerPrompt', count, `whole numbers from 1 to ${maxImages}`)
  return count
}

/**
 * Checks everything that needs no scheduler and no text encoder. `multiple`: what width and height must be multiples of.
 * @throws InputError `size`, `num-inference-steps`, `guidance-scale`, `guidance-rescale`, `num-images-per-prompt`, `seed`, `eta`,
 * `preview-every`, `scheduler`, `max-sequence-length`
 */
export function checkInputs(
  options: GenerateOptions,
  size: { readonly width: number; readonly height: number },
  multiple: number,
): void {
  checkSize(size, multiple)
  checkWhole('num-inference-steps', 'numInferenceSteps', options.numInferenceSteps, 1, 10_000)
  checkNumber('guidance-rescale', 'guidanceRescale', options.guidanceRescale, 0, 1)
  if (typeof options.cfgNormalization !== 'boolean')
    checkNumber('guidance-rescale', 'cfgNormalization', options.cfgNormalization, 0, 10_000)
  checkNumber('guidance-rescale', 'cfgTruncation', options.cfgTruncation, 0, 10_000)
  checkNumber('eta', 'eta', options.eta, 0, 1)
  checkWhole('preview-every', 'previewEvery', options.previewEvery, 0, 10_000)
  checkAmounts(options)
  if (options.seed !== undefined && !Number.isSafeInteger(options.seed))
    refuse('seed', 'seed', options.seed, 'whole numbers up to 2^53 - 1')
  for (const name of [
    'originalSize',
    'targetSize',
    'cropsCoordsTopLeft',
    'negativeOriginalSize',
    'negativeTargetSize',
    'negativeCropsCoordsTopLeft',
  ] as const)
    checkPair(name, options[name])
  if (options.scheduler !== undefined && typeof options.scheduler.className !== 'string')
    refuse('scheduler', 'scheduler', options.scheduler, 'a className and a config')
}

/**
 * Checks an image to start from.
 * @throws InputError `image` unless it is RGBA with width and height multiples of `multiple`, at most `maxEdge`
 */
export function checkImage(image: PixelImage, multiple: number, maxEdge: number): void {
  for (const name of ['width', 'height'] as const) {
    const value = image[name]
    if (!Number.isInteger(value) || value < multiple || value > maxEdge || value % multiple !== 0)
      throw new InputError(
        'image',
        `The image's ${name} is ${value}; allowed are multiples of ${multiple} from ${multiple} to ${maxEdge}.`,
        {
          [name]: value,
          allowed: multiple,
        },
      )
  }
  if (image.data.length !== image.width * image.height * 4)
    throw new InputError(
      'image',
      `The image has ${image.data.length} bytes; ${image.width} × ${image.height} RGBA pixels are ${image.width * image.height * 4}.`,
      {
        bytes: image.data.length,
        expected: image.width * image.height * 4,
      },
    )
}
