/** Decodes latents to an image on the CPU, with valid weights and with weights that give no picture. */
import { AutoencoderKL } from '../../models/autoencoders/autoencoder-kl.js'
import type { AutoencoderModel } from '../../models/types.js'
import { join } from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import { readSafetensorsHeader } from '../../checkpoint/safetensors.js'
import type { TensorEntry } from '../../checkpoint/types.js'
import { readJson } from '../../models/testing.node.js'
import { openDevice } from '../../runtime/open-device.js'
import { numbers, TestSource } from '../../runtime/testing.js'
import { ComponentHost } from '../execution/component-host.js'
import type { Network } from '../bind-network.js'
import { Run } from '../run.js'
import type { PlainTensor } from '../types.js'
import { diskRepository, fixtures } from '../testing.node.js'
import { scaledLatents } from './latent-scaling.js'
import { decodeLatents } from './vae-decode.js'

const folder = join(fixtures, 'tiny-sdxl/repo/vae')
const file = 'diffusion_pytorch_model.safetensors'
const source = await diskRepository(folder).open(file)
const { tensors } = await readSafetensorsHeader(source, file)
const table = new Map([...tensors].map(([name, header]) => [name, { ...header, source }]))
const vae: Network<AutoencoderModel> = {
  name: 'vae',
  model: AutoencoderKL.fromConfig(readJson(join(folder, 'config.json'))),
  table,
  repo: 'tiny-sdxl',
}

/** The tensor with all its values replaced. */
function filled(name: string, value: number): TensorEntry {
  const entry = vae.table.get(name)!
  const count = entry.shape.reduce((product, size) => product * size, 1)
  const data = new Float32Array(count).fill(value)
  return { ...entry, dtype: 'F32', source: new TestSource(new Uint8Array(data.buffer)), begin: 0, end: data.byteLength }
}

let host: ComponentHost | undefined
afterEach(async () => host?.dispose())

async function decode(changed: readonly TensorEntry[], vaeTiling = false) {
  const device = await openDevice({ kind: 'wasm' })
  const own = new ComponentHost({ device, dtype: 'float32', offload: 'resident', vaeTiling })
  host = own
  const weights = new Map([...table, ...changed.map((entry) => [entry.name, entry] as const)])
  const data = numbers(4 * 12 * 8, 1)
  const latents = own.device.upload({ type: 'float32', dims: [1, 4, 12, 8], data }, 'test')
  const run = new Run({})
  try {
    return {
      image: await decodeLatents({ ...vae, table: weights }, latents, scaledLatents(vae.model.scaling, 4), own, run),
      warnings: run.warnings,
    }
  } finally {
    latents.dispose()
  }
}

test('valid weights give a picture', async () => {
  const { image, warnings } = await decode([])
  expect(image.dims).toEqual([1, 96, 64, 3])
  expect(image.data.every((value) => value >= 0 && value <= 1)).toBe(true)
  expect(warnings).toEqual([])
})

test('after a failure the images that are decoded already are not decoded again', async () => {
  const device = await openDevice({ kind: 'wasm' })
  const own = new ComponentHost({ device, dtype: 'float32', offload: 'resident' })
  host = own
  const latents = device.upload({ type: 'float32', dims: [3, 4, 8, 8], data: numbers(3 * 4 * 8 * 8, 1) }, 'test')
  const read = vi.spyOn(own, 'read')
  const decodeWith = (images: PlainTensor[]) =>
    decodeLatents(vae, latents, scaledLatents(vae.model.scaling, 4), own, new Run({}), undefined, images)
  const whole = await decodeWith([])
  expect(read).toHaveBeenCalledTimes(3)

  const images: PlainTensor[] = []
  const decodeOne = ComponentHost.prototype.read.bind(own)
  read.mockImplementationOnce(decodeOne).mockRejectedValueOnce(new Error('The device was lost.'))
  await expect(decodeWith(images)).rejects.toThrow('The device was lost.')
  read.mockClear()
  expect(await decodeWith(images)).toEqual(whole)
  expect(read).toHaveBeenCalledTimes(2)
  latents.dispose()
})

test.each([
  ['as a whole', false, 3 * 96 * 64],
  ['in tiles, at the first tile', true, 3 * 64 * 64],
])('a result that is not finite or all zero is an error, not a black picture: %s', async (_, vaeTiling, count) => {
  const what = "the autoencoder's output"
  const [weight, bias] = ['decoder.conv_out.weight', 'decoder.conv_out.bias'] as const
  await expect(decode([filled(bias, Number.NaN)], vaeTiling)).rejects.toMatchObject({
    code: 'not-finite',
    details: { what, bad: count, count },
  })
  await host?.dispose()
  await expect(decode([filled(weight, 0), filled(bias, 0)], vaeTiling)).rejects.toMatchObject({
    code: 'all-zero',
    details: { what, count },
  })
})
