/**
 * Plans of published models at their own size, for each type and residence, as the tables of docs/memory.md. Nothing is loaded: the
 * weights' names and shapes are in fixtures/weight-tables.
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { heldBytes, networkNeeds, runShapes, smallestTile } from '../../src/pipelines/memory-needs.js'
import { weightBytes, type ComponentNeeds } from '../../src/runtime/memory-estimate.js'
import { leastWeightBudget, planMemory, type Residence } from '../../src/runtime/memory-plan.js'
import { formatBytes } from '../../src/util/format-bytes.js'
import { publishedNetwork } from './weight-tables.js'

interface PublishedPipeline {
  readonly name: string
  readonly size: number
  readonly components: Readonly<Record<string, string>>
}

const pipelines: readonly PublishedPipeline[] = [
  {
    name: 'Stable Diffusion 1.5',
    size: 512,
    components: { text_encoder: 'sd15-text-encoder', unet: 'sd15-unet', vae: 'sd15-vae' },
  },
  {
    name: 'SDXL base',
    size: 1024,
    components: { text_encoder: 'sdxl-text-encoder', text_encoder_2: 'sdxl-text-encoder-2', unet: 'sdxl-unet', vae: 'sdxl-vae' },
  },
  {
    name: 'Stable Diffusion 3 medium',
    size: 1024,
    components: {
      text_encoder: 'sd3-text-encoder',
      text_encoder_2: 'sdxl-text-encoder-2',
      text_encoder_3: 't5-xxl-encoder',
      transformer: 'sd3-medium-transformer',
      vae: 'sd3-vae',
    },
  },
]

/** All tables, in Markdown. */
export function publishedTables(): string {
  return pipelines.map(tableOf).join('\n\n')
}

/** Bytes by component and residence, for both types. */
function tableOf({ name, size, components }: PublishedPipeline): string {
  const lines = [
    `**${name}**, ${size} × ${size}, one image with guidance`,
    '',
    '| | float16: weights | one block, and the next | activations | float32: weights | one block, and the next | activations |',
    '| --- | ---: | ---: | ---: | ---: | ---: | ---: |',
  ]
  const latent = { width: size / 8, height: size / 8 }
  const networks = (dtype: 'F16' | 'F32') =>
    Object.entries(components).map(([component, table]) => publishedNetwork(component, table, dtype))
  const byType = (['float16', 'float32'] as const).map((dtype) =>
    networks(dtype === 'float16' ? 'F16' : 'F32').map((network) => {
      // As pipelines do: an autoencoder that overflows in float16 computes in float32.
      const upcast = network.className === 'AutoencoderKL' && network.config['force_upcast'] !== false
      return networkNeeds(network, runShapes(network, latent), { dtype: upcast ? 'float32' : dtype, quantized: undefined })
    }),
  )
  for (const [index, component] of Object.keys(components).entries()) {
    const cells = byType.flatMap((needs) => {
      const one = needs[index]
      return one === undefined ? [] : [weightBytes(one), leastWeightBudget(one), one.activationBytes]
    })
    lines.push(`| ${component} | ${cells.map(formatBytes).join(' | ')} |`)
  }
  const tiled = byType.map((needs) =>
    formatBytes(needs.find(({ name: component }) => component === 'vae')?.tiledActivationBytes ?? 0),
  )
  lines.push(`| vae, in tiles of ${smallestTile} | ${tiled.map((bytes) => `| | ${bytes}`).join(' | ')} |`)
  const held = heldBytes(networks('F32'), latent)
  for (const [residence, inTiles] of peaks) {
    const cells = byType.map((needs) => `**${formatBytes(peakOf(inTiles ? needs.map(asTiled) : needs, held, residence))}** | |`)
    lines.push(`| **peak, \`${residence}\`${inTiles ? ', in tiles' : ''}** | ${cells.join(' | ')} |`)
  }
  return lines.join('\n')
}

const peaks: readonly (readonly [Residence, boolean])[] = [
  ['resident', false],
  ['model', false],
  ['resident', true],
  ['model', true],
  ['block', true],
]

function asTiled(needs: ComponentNeeds): ComponentNeeds {
  return { ...needs, activationBytes: needs.tiledActivationBytes ?? needs.activationBytes }
}

/** The planned peak; of `block` the one that keeps nothing and uploads ahead. */
function peakOf(needs: readonly ComponentNeeds[], held: number, residence: Residence): number {
  const options = { offload: residence, maxMemory: Number.MAX_SAFE_INTEGER, heldBytes: held }
  if (residence !== 'block') return planMemory(needs, options).peakBytes
  return held + Math.max(...needs.map((one) => Math.min(leastWeightBudget(one), weightBytes(one)) + one.activationBytes))
}

const path = fileURLToPath(new URL('../../docs/memory.md', import.meta.url))

/** Puts the tables into docs/memory.md. */
export function writeTables(tables: string): void {
  const { before, after } = splitDocument()
  writeFileSync(path, `${before}${tables}${after}`)
}

/** Whether docs/memory.md has these tables. */
export function hasTables(tables: string): boolean {
  return splitDocument().tables === tables
}

function splitDocument(): { readonly before: string; readonly tables: string; readonly after: string } {
  const text = readFileSync(path, 'utf8')
  const begin = '<!-- tables: npm run bench:memory -- --tables --write -->\n\n'
  const from = text.indexOf(begin)
  const to = text.indexOf('\n\n<!-- end of tables -->', from)
  if (from < 0 || to < 0) throw new Error('docs/memory.md has no place for the tables')
  const at = from + begin.length
  return { before: text.slice(0, at), tables: text.slice(at, to), after: text.slice(to) }
}
