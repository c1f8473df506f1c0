import { expect, test } from 'vitest'
import { InputError } from '../../errors.js'
import { encodePng, readPngText } from './png.js'

/** A picture that is half noise and half smooth, so that each row filter is chosen for some rows. */
function picture(width: number, height: number, alpha: (x: number) => number): Uint8ClampedArray<ArrayBuffer> {
  const data = new Uint8ClampedArray(width * height * 4)
  let state = 1
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      const at = (y * width + x) * 4
      data.set(y < height / 2 ? [x * 3, y * 5, x + y, alpha(x)] : [state >>> 24, state >>> 16, state >>> 8, alpha(x)], at)
    }
  }
  return data
}

/** A PNG decoder as in section 9 of the specification, for 8-bit RGB and RGBA. */
async function decode(
  png: Uint8Array<ArrayBuffer>,
): Promise<{ width: number; height: number; channels: number; data: Uint8Array }> {
  const view = new DataView(png.buffer, png.byteOffset)
  const [width, height] = [view.getUint32(16), view.getUint32(20)]
  const channels = png[25] === 2 ? 3 : 4
  const parts: Uint8Array<ArrayBuffer>[] = []
  for (let at = 8; at < png.length;) {
    const length = view.getUint32(at)
    if (String.fromCharCode(...png.subarray(at + 4, at + 8)) === 'IDAT') parts.push(png.subarray(at + 8, at + 8 + length))
    at += length + 12
  }
  const inflated = new Blob(parts).stream().pipeThrough(new DecompressionStream('deflate'))
  const raw = new Uint8Array(await new Response(inflated).arrayBuffer())
  const stride = width * channels
  const data = new Uint8Array(stride * height)
  for (let y = 0; y < height; y++) {
    const type = raw[y * (stride + 1)]
    for (let i = 0; i < stride; i++) {
      const a = i < channels ? 0 : data[y * stride + i - channels]!
      const b = y === 0 ? 0 : data[(y - 1) * stride + i]!
      const c = y === 0 || i < channels ? 0 : data[(y - 1) * stride + i - channels]!
      const p = a + b - c
      const [pa, pb, pc] = [Math.abs(p - a), Math.abs(p - b), Math.abs(p - c)]
      const paeth = pa <= pb && pa <= pc ? a : pb <= pc ? b : c
      const predicted = [0, a, b, undefined, paeth][type!]!
      data[y * stride + i] = raw[y * (stride + 1) + 1 + i]! + predicted
    }
  }
  return { width, height, channels, data }
}

test('an opaque picture is written as RGB, exactly', async () => {
  const data = picture(37, 20, () => 255)
  const png = await decode(await encodePng({ width: 37, height: 20, data }))
  expect([png.width, png.height, png.channels]).toEqual([37, 20, 3])
  expect([...png.data]).toEqual([...data].filter((_, i) => i % 4 !== 3))
})

test('transparency is kept', async () => {
  const data = picture(9, 5, (x) => x * 20)
  const png = await decode(await encodePng({ width: 9, height: 5, data }))
  expect(png.channels).toBe(4)
  expect([...png.data]).toEqual([...data])
})

test('text of any characters is read back', async () => {
  const text = { parameters: 'a cat, 猫 🐈\nSteps: 3', aquatint: JSON.stringify({ seed: 1 }) }
  const png = await encodePng({ width: 1, height: 1, data: new Uint8ClampedArray(4) }, text)
  expect(await readPngText(new Blob([png]))).toEqual(text)
})

test.each(['', ' a', 'a ', 'x'.repeat(80), '猫', 'a\nb'])('keyword %j is refused', async (keyword) => {
  const image = { width: 1, height: 1, data: new Uint8ClampedArray(4) }
  await expect(encodePng(image, { [keyword]: '' })).rejects.toMatchObject({ name: 'InputError', code: 'bad-png-keyword' })
})

test('other files and truncated files are rejected', async () => {
  const png = await encodePng({ width: 2, height: 2, data: new Uint8ClampedArray(16) }, { a: 'b' })
  for (const bytes of [new Uint8Array(), new TextEncoder().encode('GIF89a, not a PNG'), png.slice(0, 40), png.slice(0, -13)]) {
    await expect(readPngText(new Blob([bytes]))).rejects.toThrow(InputError)
  }
})

test('the CRC of IEND is the same as in every PNG', async () => {
  const png = await encodePng({ width: 1, height: 1, data: new Uint8ClampedArray(4) })
  expect(png.slice(-4)).toEqual(Uint8Array.of(0xae, 0x42, 0x60, 0x82))
})
