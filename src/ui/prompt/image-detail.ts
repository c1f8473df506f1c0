/** What a finished run hands on: the pictures with the settings that made them, as files, and the buttons under each. */

import type { GeneratedImage, GenerateOutput, PipelineInfo } from '../../index.js'
import { h } from '../parts/dom.js'
import { toPngText, type PromptSettings } from '../parts/settings.js'

/** The detail of an `image` event. */
export interface ImageDetail {
  /** The pictures, with their exact pixels. */
  readonly images: readonly GeneratedImage[]
  /** The pictures as PNG files that carry their settings. */
  readonly files: readonly File[]
  /** The seed used, also when it was drawn. */
  readonly seed: number
  /** What was set, with every default filled in: the same settings make the same picture. */
  readonly settings: PromptSettings
  /** The model that made them. */
  readonly info: PipelineInfo
  /** Seconds spent per phase. */
  readonly timings: GenerateOutput['timings']
  /** What did not go as asked, in words. */
  readonly warnings: readonly string[]
  /** The picture that the run started from. */
  readonly startImage: Blob | null
}

/** Fills in what the model decided, and writes the files. */
export async function createImageDetail(
  output: GenerateOutput,
  asked: PromptSettings,
  startImage: Blob | null,
  info: PipelineInfo,
): Promise<ImageDetail> {
  const { images, seed, timings, warnings } = output
  const { numInferenceSteps, guidanceScale } = info.defaults
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
  return { images, files, seed, settings, info, timings, warnings, startImage }
}

/** `a-cute-dog-7.png`: the prompt's first words and the seed. */
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

/** Save and copy, for one picture. */
export function imageActions({ files }: ImageDetail, index: number): readonly HTMLElement[] {
  const file = files[index]
  if (file === undefined) return []
  const save = h('button', { type: 'button', onclick: () => saveFile(file) }, 'Save PNG')
  if (typeof ClipboardItem === 'undefined') return [save]
  const copy: HTMLButtonElement = h('button', { type: 'button', onclick: () => void copyFile(file, copy) }, 'Copy')
  return [save, copy]
}

/** Offers a file as a download. Some browsers open it long after the click, when the reader has said where to. */
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
    // The browser or the embedding page does not let us.
    button.textContent = 'Copying is not allowed here'
  }
}
