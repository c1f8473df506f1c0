/** The result of a run: the pictures as files with their settings, and the buttons below each. */

import type { GeneratedImage, GenerateOutput, PipelineInfo } from '../../index.js'
import { h } from '../parts/dom.js'
import { toPngText, type PromptSettings } from '../parts/settings.js'

/** The detail of an `image` event. */
export interface ImageDetail {
  /** The pictures, as exact pixels. */
  readonly images: readonly GeneratedImage[]
  /** The pictures as PNG files that contain their settings. */
  readonly files: readonly File[]
  /** The seed that was used, whether given or random. */
  readonly seed: number
  /** The settings with every default filled in: the same settings give the same picture. */
  readonly settings: PromptSettings
  /** The model that was used. */
  readonly info: PipelineInfo
  /** Seconds spent per phase. */
  readonly timings: GenerateOutput['timings']
  /** Warnings for people, such as a prompt that was cut. */
  readonly warnings: readonly string[]
  /** The start picture of the run, if any. */
  readonly startImage: Blob | null
  /** The reference pictures of the run, in their order. */
  readonly referenceImages: readonly Blob[]
}

/** Fills in the defaults of the model, and encodes the files. */
export async function createImageDetail(
  output: GenerateOutput,
  asked: PromptSettings,
  pictures: Pick<ImageDetail, 'startImage' | 'referenceImages'>,
  info: PipelineInfo,
): Promise<ImageDetail> {
  const { images, seed, timings, warnings } = output
  const { numInferenceSteps, guidanceScale } = pictures.startImage === null ? info.defaults : info.defaults.fromImage
  const settings: PromptSettings = {
    numInferenceSteps,
    guidanceScale,
    scheduler: info.scheduler.className,
    ...asked,
    revision: info.revision,
    width: images[0]?.width,
    height: images[0]?.height,
    seed,
  }
  const files = await Promise.all(
    images.map(async (image, index) => {
      const blob = await image.toBlob('image/png', toPngText(settings))
      return new File([blob], fileName(settings, index, images.length), { type: 'image/png' })
    }),
  )
  return { images, files, seed, settings, info, timings, warnings, ...pictures }
}

/** A file name such as `a-cute-dog-7.png`: the first words of the prompt and the seed. */
export function fileName({ prompt, seed }: PromptSettings, index: number, count: number): string {
  const words = prompt
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, '-')
    .replace(/^-+|-+$/g, '')
  const short = Array.from(words).slice(0, 40).join('').replace(/-+$/, '')
  return (
    [short === '' ? 'picture' : short, seed, count > 1 ? index + 1 : undefined].filter((part) => part !== undefined).join('-') +
    '.png'
  )
}

/** The buttons of one picture: save and copy. */
export function imageActions({ files }: ImageDetail, index: number): readonly HTMLElement[] {
  const file = files[index]
  if (file === undefined) return []
  const save = h('button', { type: 'button', onclick: () => saveFile(file) }, 'Save PNG')
  if (typeof ClipboardItem === 'undefined') return [save]
  const copy: HTMLButtonElement = h('button', { type: 'button', onclick: () => void copyFile(file, copy) }, 'Copy')
  return [save, copy]
}

/** Offers a file as a download. The URL stays valid for a minute: some browsers open it only after the user has chosen a folder. */
export function saveFile(file: File): void {
  const url = URL.createObjectURL(file)
  h('a', { href: url, download: file.name }).click()
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}

async function copyFile(file: File, button: HTMLElement): Promise<void> {
  try {
    await navigator.clipboard.write([new ClipboardItem({ 'image/png': file })])
    button.textContent = 'Copied'
  } catch {
    // The browser or the embedding page forbids copying.
    button.textContent = 'Copying is not allowed here'
  }
}
