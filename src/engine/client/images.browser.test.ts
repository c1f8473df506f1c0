/** Pictures as a page has them, in both directions: read as pixels, and written as files, bitmaps and canvases. */

import { isImageList } from '../../pipelines/check-inputs.js'
import { expect, test, vi } from 'vitest'
import { GeneratedImage } from './generated-image.js'
import { readImage, type ImageInput } from './image-input.js'
import { engineWith, info, pipeline, result } from '../testing.js'
import { DiffusionPipeline } from './diffusion-pipeline.js'

/** 16 × 8 pixels: the left half is red, the right half blue. */
function halves(): GeneratedImage {
  const data = new Uint8ClampedArray(16 * 8 * 4)
  for (let pixel = 0; pixel < 16 * 8; pixel++) data.set(pixel % 16 < 8 ? [255, 0, 0, 255] : [0, 0, 255, 255], pixel * 4)
  return new GeneratedImage({ width: 16, height: 8, data })
}

async function element(url: string): Promise<HTMLImageElement> {
  const image = new Image()
  image.src = url
  await image.decode()
  return image
}

function canvas(): HTMLCanvasElement {
  const made = document.createElement('canvas')
  halves().draw(made)
  return made
}

const png = () => halves().toBlob()
const forms: Readonly<Record<string, () => ImageInput | Promise<ImageInput>>> = {
  pixels: halves,
  ImageData: () => halves().toImageData(),
  Blob: png,
  File: async () => new File([await png()], 'a.png', { type: 'image/png' }),
  ImageBitmap: () => halves().toImageBitmap(),
  'an img element': async () => element(URL.createObjectURL(await png())),
  'a canvas element': canvas,
  OffscreenCanvas: () => {
    const made = new OffscreenCanvas(1, 1)
    halves().draw(made)
    return made
  },
  URL: async () => new URL(URL.createObjectURL(await png())),
  'an address': async () => URL.createObjectURL(await png()),
}

test.each(Object.entries(forms))('%s is read as its pixels', async (_name, make) => {
  const { image } = await readImage(await make())
  expect({ ...image, data: [...image.data] }).toEqual({ width: 16, height: 8, data: [...halves().data] })
})

test('a picture is cropped and scaled to the size; pixels are not', async () => {
  const square = { width: 8, height: 8 }
  const { image, isCopy } = await readImage(await png(), square)
  expect([image.width, image.height, isCopy]).toEqual([8, 8, true])
  // The result is the middle of the picture: the left half of the result is red, its right half blue.
  const at = (x: number) => [...image.data.subarray(x * 4, x * 4 + 4)]
  expect([at(0), at(7)]).toEqual([
    [255, 0, 0, 255],
    [0, 0, 255, 255],
  ])
  const given = halves()
  const kept = await readImage(given, square)
  expect(kept).toMatchObject({ isCopy: false, image: { width: 16, height: 8 } })
  expect(kept.image.data).toBe(given.data)
})

test('transparent parts become white', async () => {
  const clear = new GeneratedImage({ width: 1, height: 1, data: new Uint8ClampedArray(4) })
  const { image } = await readImage(await clear.toBlob())
  expect([...image.data]).toEqual([255, 255, 255, 255])
})

test.each([
  ['a file that is no picture', new Blob(['no'], { type: 'text/plain' }), 'text/plain'],
  ['null', null, 'Null'],
  ['an invalid URL', 'https://:', '"https://:"'],
  ['a server that cannot be reached', 'http://127.0.0.1:1/a.png', 'Access-Control-Allow-Origin'],
])('%s is refused by name', async (_name, input, words) => {
  const error: unknown = await readImage(input as ImageInput).catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ name: 'InputError', code: 'image', message: expect.stringContaining(words) as unknown })
})

test('a decoded start image reaches the pipeline in the size of the result', async () => {
  const sizes: unknown[] = []
  const { engine } = engineWith(() =>
    Promise.resolve(
      pipeline({
        info,
        generate: (_prompt, { image }) => {
          if (image !== undefined && !isImageList(image)) sizes.push([image.width, image.height, image.data.length])
          return Promise.resolve(result(1))
        },
      }),
    ),
  )
  const loaded = await DiffusionPipeline.fromPretrained('a/b', { engine })
  await loaded.generate('x', { image: await png(), width: 8, height: 8 })
  await loaded.generate('x', { image: canvas() })
  expect(sizes).toEqual([
    [8, 8, 256],
    [16, 8, 512],
  ])
})

test.each(['image/jpeg', 'image/webp'] as const)('%s is written by the browser, smaller at a lower quality', async (type) => {
  const noise = new GeneratedImage({
    width: 64,
    height: 64,
    data: Uint8ClampedArray.from({ length: 16384 }, (_, i) => (i % 4 === 3 ? 255 : (i * 7919) % 251)),
  })
  const [fine, coarse] = [await noise.toBlob(type, 0.95), await noise.toBlob(type, 0.1)]
  expect([fine.type, coarse.type]).toEqual([type, type])
  expect(coarse.size).toBeLessThan(fine.size)
  const { image } = await readImage(fine)
  expect([image.width, image.height]).toEqual([64, 64])
})

test('a type that no browser writes is refused', async () => {
  const unknown = 'image/gif' as 'image/png'
  await expect(halves().toBlob(unknown)).rejects.toMatchObject({ code: 'unsupported-image-type', details: { type: 'image/gif' } })
})

test('a canvas with another kind of context is refused', () => {
  const taken = document.createElement('canvas')
  taken.getContext('bitmaprenderer')
  expect(() => halves().draw(taken)).toThrow(expect.objectContaining({ code: 'image' }))
})

test('a saved file has the type that its name says', async () => {
  const saved = new Map<string, string>()
  const pending: Promise<void>[] = []
  const click = vi.spyOn(HTMLAnchorElement.prototype, 'click').mockImplementation(function (this: HTMLAnchorElement) {
    const { download, href } = this
    pending.push(
      fetch(href)
        .then((answer) => answer.blob())
        .then(({ type }) => void saved.set(download, type)),
    )
  })
  try {
    for (const name of ['a.png', 'a.JPG', 'a.webp', 'a']) await halves().save(name)
  } finally {
    click.mockRestore()
  }
  await Promise.all(pending)
  expect(Object.fromEntries(saved)).toEqual({
    a: 'image/png',
    'a.JPG': 'image/jpeg',
    'a.png': 'image/png',
    'a.webp': 'image/webp',
  })
})
