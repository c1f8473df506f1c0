/**
 * Tests that a model lists the config values that diffusers or transformers ignores (recorded in fixtures/config-keys), so that loading can
 * report them.
 */

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Config } from '../checkpoint/types.js'
import { changedConfig, readKeyCases, type KeyCase } from './config-keys.node.js'
import { networkDefinition } from './registry.js'
import { fixtures, readJson } from './testing.node.js'

/**
 * Keys that do not describe the network, keys that the pipelines read, and keys that only say how weights are stored or how precisely they
 * are used.
 */
const readElsewhere = new Set([
  'architectures',
  'dtype',
  'torch_dtype',
  'sample_size',
  'scaling_factor',
  'shift_factor',
  'latents_mean',
  'latents_std',
  'use_linear_projection',
  'upcast_attention',
  'force_upcast',
])

/** Values that no key has in a usual config. */
const odd: ReadonlySet<unknown> = new Set([0.5, 'no_such'])

/** The changes of keys that the class never reads: no value of such a key changes the output. */
function ignoredChanges({ changes }: KeyCase): KeyCase['changes'] {
  const read = new Set(changes.filter(([, judged]) => typeof judged !== 'string').map(([key]) => key))
  return changes.filter(([key, judged]) => judged === 'same' && !read.has(key))
}

test('an odd value of a key that the class never reads is listed', () => {
  const unlisted = readKeyCases().flatMap((item) =>
    ignoredChanges(item).flatMap((change) => {
      const [key, , value] = change
      if (!odd.has(value) || readElsewhere.has(key)) return []
      const { ignoredKeys, unusedValues = {} } = networkDefinition(item.class).fromConfig(changedConfig(item, change))
      return Object.hasOwn({ ...ignoredKeys, ...unusedValues }, key) ? [] : [`${item.class} ${key} ${JSON.stringify(value)}`]
    }),
  )
  expect(unlisted).toEqual([])
})

test('a published config has no value to list', () => {
  const folder = join(fixtures, 'weight-tables')
  const listed = readdirSync(folder).flatMap((file) => {
    const { _class_name: className, config } = readJson(join(folder, file)) as unknown as { _class_name: string; config: Config }
    return Object.entries(networkDefinition(className).fromConfig(config).unusedValues ?? {}).map(([key]) => `${file} ${key}`)
  })
  expect(listed).toEqual([])
})

test('the bundled model has no value to list', () => {
  const model = join(fixtures, '../public/models/aquatint-emoji')
  const listed = ['text_encoder', 'text_encoder_2', 'unet', 'vae'].flatMap((folder) => {
    const config = readJson(join(model, folder, 'config.json'))
    const className = String(config['_class_name'] ?? [config['architectures']].flat()[0])
    return Object.keys(networkDefinition(className).fromConfig(config).unusedValues ?? {}).map((key) => `${folder} ${key}`)
  })
  expect(listed).toEqual([])
})
