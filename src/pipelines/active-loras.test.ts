/** After each of some random calls, the same LoRAs are active in each layer as in diffusers (fixtures/lora/active.json). */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ActiveLoras } from './active-loras.js'
import { fixtures } from './testing.node.js'

interface Call {
  readonly load?: string
  /** The layers that the LoRA changes, as indices into `active`. */
  readonly layers?: readonly number[]
  readonly set?: readonly string[]
  readonly delete?: readonly string[]
  /** The active LoRAs of each layer in diffusers, after the call. */
  readonly active: readonly (readonly string[])[]
}

const { unet, runs } = JSON.parse(readFileSync(join(fixtures, 'lora/active.json'), 'utf8')) as {
  readonly unet: number
  readonly runs: readonly (readonly Call[])[]
}

test.each(runs.map((calls, k) => [k, calls] as const))(
  'series %i of calls: each layer has the active LoRAs that it has in diffusers',
  (_k, calls) => {
    const components = [0, 1].map(() => ({ active: new ActiveLoras(), loaded: new Map<string, string[]>() }))
    for (const call of calls) {
      for (const [index, { active, loaded }] of components.entries()) {
        if (call.load !== undefined) {
          const layers = (call.layers ?? []).filter((layer) => (layer < unet ? 0 : 1) === index).map(String)
          if (layers.length === 0) continue
          loaded.set(call.load, layers)
          active.activate([call.load], loaded)
        }
        if (call.set !== undefined) active.activate(call.set, loaded)
        for (const name of call.delete ?? []) {
          loaded.delete(name)
          active.remove(name, loaded)
        }
      }
      const found = call.active.map((_, layer) => {
        const { active, loaded } = components[layer < unet ? 0 : 1] ?? {}
        return active?.names.filter((name) => loaded?.get(name)?.includes(String(layer)) && active.isActive(name, String(layer)))
      })
      expect(found).toEqual(call.active)
    }
  },
)
