import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { unpackWasm } from './wasm-files.js'

const module = Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...Array.from({ length: 500 }, (_, i) => (i * i) % 251)])
const packed = gzipSync(module)

const served = (bytes: Uint8Array) => `data:application/octet-stream;base64,${Buffer.from(bytes).toString('base64')}`

test('a compressed file is unpacked, also where the host has made the browser unpack it', async () => {
  expect(await unpackWasm(served(packed))).toEqual(module)
  expect(await unpackWasm(served(module))).toEqual(module)
})

test.each([1, 20, 100, packed.length - 1])('a file that was cut short after %i bytes is not run', async (length) => {
  const reason =
    length === 1 ? /the host sent another file as data:/ : new RegExp(`cut short or changed \\(${length} bytes arrived\\)`)
  await expect(unpackWasm(served(packed.subarray(0, length)))).rejects.toThrow(reason)
})

test('a file with a wrong byte is not run', async () => {
  const changed = Uint8Array.from(packed)
  changed[200]! ^= 1
  await expect(unpackWasm(served(changed))).rejects.toThrow('cut short or changed')
})

test('a start page in place of the file is named', async () => {
  await expect(unpackWasm(served(Buffer.from('<!doctype html>')))).rejects.toThrow('the host sent another file as data:')
})

test('a browser that cannot unpack the file says so', async () => {
  const { DecompressionStream: own } = globalThis
  Reflect.deleteProperty(globalThis, 'DecompressionStream')
  try {
    await expect(unpackWasm(served(packed))).rejects.toThrow('this browser has no DecompressionStream')
  } finally {
    globalThis.DecompressionStream = own
  }
})
