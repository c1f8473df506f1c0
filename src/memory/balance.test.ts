import { expect, test } from 'vitest'
import { balanceComponents, checkDeviceMap, checkMappedComponents, mappedDevice, type DeviceOffer } from './balance.js'
import type { ComponentNeeds, RunNeeds } from './needs.js'
import type { DeviceName } from './device-info.js'
import { isRefusal, orThrow, type Refusal } from './refusal.js'

const way = (activationBytes: number, tile?: number): RunNeeds => ({
  activationBytes,
  tile,
  largestValue: { name: 'x', bytes: 1 },
  inputs: [],
})

function needs(name: string, bytes: number, ...activations: readonly number[]): ComponentNeeds {
  const [first = 10, ...smaller] = activations
  return {
    name,
    blocks: [{ name: 'all', bytes }],
    sharedBytes: 0,
    largestWeight: { name: `${name}.weight`, bytes },
    ways: [way(first), ...smaller.map((activationBytes) => way(activationBytes, 32))],
  }
}

const parts = [needs('text_encoder', 200), needs('unet', 900), needs('vae', 100)]
const offer = (name: DeviceName, maxMemory: number, own = parts): DeviceOffer => ({
  name,
  isFast: name !== 'wasm',
  maxMemory,
  needs: own,
})
const places = (offers: DeviceOffer[]) => orThrow(balanceComponents(offers))

test("a map gives components their devices by name; the others get the device under the name '', or none", () => {
  expect(mappedDevice({ text_encoder: 'wasm' }, 'text_encoder')).toBe('wasm')
  expect(mappedDevice({ text_encoder: 'wasm' }, 'unet')).toBeUndefined()
  expect(mappedDevice({ unet: 'webgpu', '': 'wasm' }, 'unet')).toBe('webgpu')
  expect(mappedDevice({ unet: 'webgpu', '': 'wasm' }, 'vae')).toBe('wasm')
  // Inherited properties of an object are not devices of components.
  expect(mappedDevice({}, 'constructor')).toBeUndefined()
})

test.each([
  ['auto', /deviceMap is "auto"; it must be 'balanced' or an object/],
  [null, /deviceMap is null/],
  [['wasm'], /deviceMap is \["wasm"\]/],
  [{ unet: 'cuda:0' }, /puts "unet" on "cuda:0"; the devices are webgpu, webgpu:1, wasm/],
  [{ unet: undefined }, /puts "unet" on undefined/],
])('the map %j is refused', (map, message) => {
  expect(() => checkDeviceMap(map)).toThrow(expect.objectContaining({ code: 'bad-device-map' }))
  expect(() => checkDeviceMap(map)).toThrow(message)
})

test('a map that names a component the pipeline does not have is refused', () => {
  checkMappedComponents({ unet: 'webgpu', '': 'wasm' }, ['unet', 'vae'])
  expect(() => checkMappedComponents({ transformer: 'webgpu' }, ['unet', 'vae'])).toThrow(
    /deviceMap names "transformer"; the networks of this pipeline are unet, vae/,
  )
})

test('balanced fills GPUs first, the largest component where most memory is left, and counts one run at a time', () => {
  const placed = places([offer('webgpu', 1000), offer('wasm', 400)])
  expect(Object.fromEntries(placed)).toEqual({ text_encoder: 'wasm', unet: 'webgpu', vae: 'wasm' })
  // The weights take 1200 bytes. The memory of one run comes on top only once, because one component runs at a time.
  expect(Object.fromEntries(places([offer('webgpu', 1209), offer('wasm', 5000)]))).toEqual({
    text_encoder: 'webgpu',
    unet: 'webgpu',
    vae: 'wasm',
  })
  expect(Object.fromEntries(places([offer('webgpu', 1210)]))).toEqual({
    text_encoder: 'webgpu',
    unet: 'webgpu',
    vae: 'webgpu',
  })
  expect(balanceComponents([offer('webgpu', 1209)])).toMatchObject({
    message: expect.stringMatching(/vae fits on no device/) as string,
  })
})

test('a component may take more memory on one device than on another', () => {
  const wide = parts.map(({ name, blocks }) => needs(name, 2 * blocks[0]!.bytes))
  expect(Object.fromEntries(places([offer('webgpu', 1000), offer('wasm', 1100, wide)]))).toEqual({
    text_encoder: 'wasm',
    unet: 'webgpu',
    vae: 'wasm',
  })
})

test('a component that can work in tiles needs memory for one tile', () => {
  const tiled = [needs('vae', 100, 1000, 50)]
  expect(places([offer('webgpu', 150, tiled)]).get('vae')).toBe('webgpu')
})

function refusal(offers: DeviceOffer[]): Refusal {
  const result = balanceComponents(offers)
  if (isRefusal(result)) return result
  throw new Error('It was placed')
}

test('a refusal says how many bytes are needed and offered on each device', () => {
  const { refused, message, details } = refusal([offer('webgpu', 500), offer('wasm', 400)])
  expect(refused).toBe('does-not-fit')
  expect(message).toMatch(/unet fits on no device.* webgpu offers 500 .* 910 .*; wasm offers 400 /)
  expect(details).toEqual({
    component: 'unet',
    needed: { webgpu: 910, wasm: 910 },
    left: { webgpu: 500, wasm: 400 },
    offered: { webgpu: 500, wasm: 400 },
  })
  expect(refusal([offer('webgpu', 1109), offer('wasm', 40)]).details).toMatchObject({
    component: 'text_encoder',
    left: { webgpu: 209 },
  })
})

const balanced = (offers: DeviceOffer[]) => Object.fromEntries(places(offers))

test('tensors that stay beside the components count, and so does the size of the largest buffer', () => {
  const gpu = { ...offer('webgpu', 1210), heldBytes: 1 }
  expect(balanced([gpu, offer('wasm', 400)])).toEqual({ text_encoder: 'webgpu', unet: 'webgpu', vae: 'wasm' })
  expect(refusal([gpu]).details).toMatchObject({ component: 'vae', left: { webgpu: 109 }, needed: { webgpu: 110 } })
  const narrow = { ...offer('webgpu', 5000), maxBufferSize: 899 }
  expect(balanced([narrow, offer('wasm', 2000)])).toEqual({ text_encoder: 'webgpu', unet: 'wasm', vae: 'webgpu' })
  expect(refusal([narrow])).toMatchObject({
    refused: 'buffer-too-large',
    details: { tensor: 'unet.weight', bytes: 900, allowed: 899 },
  })
})
