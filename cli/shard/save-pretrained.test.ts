/**
 * Compares the output of `aquatint shard` for whole pipelines with the files that `save_pretrained(max_shard_size=…)` of the real libraries
 * wrote: names, indexes and all bytes, by their sha256. fixtures/check-shard.py recorded the hashes.
 */

import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { filesBelow, fixtures, run, temporaryFolder } from '../testing.js'

/** Fixture → type and size of shards → path → sha256. */
type Saved = Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, string>>>>>>

const saved = JSON.parse(await readFile(join(fixtures, 'save-pretrained.json'), 'utf8')) as Saved
const temporary = await temporaryFolder()
const cases = Object.entries(saved).flatMap(([fixture, settings]) =>
  Object.entries(settings).map(([setting, files]) => [fixture, setting, files] as const),
)

it('the recorded hashes include files of every network that is split', () => {
  expect(Object.keys(saved)).toEqual(['tiny-sd15', 'tiny-sd21', 'tiny-sd3', 'tiny-sd35', 'tiny-sdxl'])
  // Each kind of network is split into shards in at least one recorded setting.
  const split = cases.flatMap(([, , files]) => Object.keys(files).filter((path) => path.includes('.index.')))
  for (const name of ['text_encoder', 'text_encoder_2', 'text_encoder_3', 'transformer', 'unet', 'vae'])
    expect(
      split.some((path) => path.startsWith(`${name}/`)),
      name,
    ).toBe(true)
})

it.each(cases)('%s as %s: the same files as save_pretrained writes', async (fixture, setting, files) => {
  const [out, [dtype = '', size = '']] = [join(temporary, `${fixture} ${setting}`), setting.split(' ')]
  const args = ['shard', join(fixtures, fixture, 'repo'), '--out', out, '--dtype', dtype, '--max-shard-size', size]
  expect((await run(args)).code).toBe(0)
  const written = [...(await filesBelow(out))].filter(([path]) => path.includes('safetensors'))
  const hashes = written.map(([path, bytes]) => [path, createHash('sha256').update(bytes).digest('hex')])
  expect(Object.fromEntries(hashes)).toEqual(files)
})
