/** `aquatint shard` of a checkpoint in one file writes the same bytes as for the same checkpoint in folders, which shard.test.ts compares with diffusers. */

import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { componentFileOf, singleFileOf } from '../../src/checkpoint/layouts/single-file/testing.node.js'
import { filesBelow, fixtures, run, runJson, temporaryFolder } from '../testing.js'
import type { ShardResult } from './shard-repository.js'

const temporary = await temporaryFolder()
const repoOf = (fixture: string) => join(fixtures, fixture, 'repo')

async function shard(source: string, out: string, ...options: string[]): Promise<ReadonlyMap<string, Buffer>> {
  const { code, stderr } = await run(['shard', source, '--out', join(temporary, out), ...options])
  expect({ code, stderr }).toMatchObject({ code: 0 })
  return filesBelow(join(temporary, out))
}

it('makes the folder that the same checkpoint in folders makes', async () => {
  const file = join(temporary, 'mine.safetensors')
  await writeFile(file, await singleFileOf('tiny-sdxl'))
  const size = ['--max-shard-size', '700KB']
  const made = await shard(file, 'one', '--config', repoOf('tiny-sdxl'), ...size)
  const folders = await shard(repoOf('tiny-sdxl'), 'folders', ...size)
  expect([...made.keys()]).toEqual([...folders.keys()])
  expect([...made.keys()].filter((path) => path.startsWith('unet/') && path.endsWith('.safetensors'))).toHaveLength(3)
  for (const [path, bytes] of made) expect(bytes.equals(folders.get(path) ?? Buffer.alloc(0)), path).toBe(true)
})

it('takes the components that a FLUX.1 file lacks from the repository with the configs', async () => {
  const file = join(temporary, 'flux.safetensors')
  await writeFile(file, await componentFileOf('tiny-flux', 'transformer'))
  const made = await shard(file, 'flux', '--config', repoOf('tiny-flux'))
  const folders = await shard(repoOf('tiny-flux'), 'flux-folders')
  expect([...made.keys()]).toEqual([...folders.keys()])
  for (const [path, bytes] of made) expect(bytes.equals(folders.get(path) ?? Buffer.alloc(0)), path).toBe(true)
})

it('decodes the blocks of a GGUF file', async () => {
  const file = join(fixtures, 'gguf/transformer.gguf')
  const args = ['shard', file, '--out', join(temporary, 'gguf'), '--config', repoOf('tiny-sd35'), '--dtype', 'float16']
  const { components, warnings } = await runJson<ShardResult>(args)
  expect(warnings).toEqual([])
  expect(components.map(({ name }) => name)).toContain('transformer')
  const written = await readFile(join(temporary, 'gguf/transformer/diffusion_pytorch_model.safetensors'))
  expect(written.subarray(8, 8 + Number(written.readBigUInt64LE())).toString()).not.toContain('"U8"')
})

it.each([
  ['mine.ckpt', 'pickle-weights'],
  ['notes.txt', 'not-a-folder'],
  ['lora.safetensors', 'single-file-family'],
])('refuses %s: %s', async (name, code) => {
  const header = Buffer.from('{"lora_unet_x.lora_up.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.byteLength))
  const file = join(temporary, name)
  await writeFile(file, Buffer.concat([length, header, Buffer.alloc(4)]))
  const { error } = await runJson(['shard', file, '--out', join(temporary, 'refused'), '--config', repoOf('tiny-sd15')])
  expect(error).toMatchObject({ code })
})
