/**
 * `npm run bench:memory [-- --tables] [--write]`
 *
 * What a pipeline takes of a GPU's memory. First the plans of the published models at their own size, for each type and residence; then,
 * unless `--tables`, images of a tiny fixture and of the bundled model in headless Chromium by the public API: the measured peak of all
 * GPU buffers, seconds, and whether the image is the same. `--write` puts the first tables into docs/memory.md.
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startHubServer } from '../e2e/hub-server/server.js'
import { ensureChromium } from '../scripts/chromium.mjs'
import { networkNeeds, runShapes, smallestTile } from '../src/pipelines/memory-needs.js'
import type { OffloadMode } from '../src/pipelines/types.js'
import { weightBytes, type ComponentNeeds } from '../src/runtime/memory-estimate.js'
import { leastWeightBudget, planMemory, type Residence } from '../src/runtime/memory-plan.js'
import { formatBytes } from '../src/runtime/memory-size.js'
import { openBenchPage } from './memory/browser.js'
import { publishedNetwork } from './memory/weight-tables.js'

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

/** Prints the tables; 1 where a run passed its budget or gave another image. */
export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { tables: { type: 'boolean', default: false }, write: { type: 'boolean', default: false } },
  })
  const tables = pipelines.map(tableOf).join('\n\n')
  console.log(tables)
  if (values.write) writeTables(tables)
  if (values.tables) return 0
  ensureChromium()
  let kept = true
  for (const fixture of fixtures) kept = (await measure(fixture)) && kept
  return kept ? 0 : 1
}

/** Bytes by component and residence, for both types. */
function tableOf({ name, size, components }: PublishedPipeline): string {
  const lines = [
    `**${name}**, ${size} × ${size}, one image with guidance`,
    '',
    '| | float16: weights | one block, and the next | activations | float32: weights | one block, and the next | activations |',
    '| --- | ---: | ---: | ---: | ---: | ---: | ---: |',
  ]
  const byType = (['float16', 'float32'] as const).map((dtype) =>
    Object.entries(components).map(([component, table]) => {
      const network = publishedNetwork(component, table, dtype === 'float16' ? 'F16' : 'F32')
      // As pipelines do: an autoencoder that overflows in float16 computes in float32.
      const upcast = network.className === 'AutoencoderKL' && network.config['force_upcast'] !== false
      const shapes = runShapes(network, { width: size / 8, height: size / 8 })
      return networkNeeds(network, shapes, { dtype: upcast ? 'float32' : dtype, quantized: undefined })
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
  for (const [residence, inTiles] of peaks) {
    const cells = byType.map((needs) => `**${formatBytes(peakOf(inTiles ? needs.map(asTiled) : needs, residence))}** | |`)
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
function peakOf(needs: readonly ComponentNeeds[], residence: Residence): number {
  if (residence !== 'block') return planMemory(needs, { offload: residence, maxMemory: Number.MAX_SAFE_INTEGER }).peakBytes
  return Math.max(...needs.map((one) => Math.min(leastWeightBudget(one), weightBytes(one)) + one.activationBytes))
}

function writeTables(tables: string): void {
  const path = fileURLToPath(new URL('../docs/memory.md', import.meta.url))
  const text = readFileSync(path, 'utf8')
  const [begin, end] = ['<!-- tables: npm run bench:memory -- --tables --write -->', '<!-- end of tables -->']
  const [before, rest] = text.split(begin)
  const after = rest?.split(end)[1]
  if (before === undefined || after === undefined) throw new Error('docs/memory.md has no place for the tables')
  writeFileSync(path, `${before}${begin}\n\n${tables}\n\n${end}${after}`)
}

/** A repository of this project and the budgets that it is run under. */
interface Fixture {
  readonly name: string
  readonly folder: string
  readonly size: number
  readonly cases: readonly (readonly [OffloadMode, number | undefined])[]
}

const fixtures: readonly Fixture[] = [
  {
    name: 'tiny-sdxl',
    folder: 'fixtures/tiny-sdxl/repo',
    size: 64,
    cases: [
      ['resident', undefined],
      ['model', undefined],
      ['auto', 3e6],
      ['auto', 2e6],
      ['auto', 1.8e6],
    ],
  },
  {
    name: 'aquatint-emoji',
    folder: 'public/models/aquatint-emoji',
    size: 128,
    cases: [
      ['resident', undefined],
      ['model', undefined],
      ['auto', 60e6],
      ['auto', 40e6],
      ['auto', 32e6],
    ],
  },
]
const steps = 2

/** Makes the same image under every residence and budget, each in a browser of its own. Resolves to whether all kept their budget and agreed. */
async function measure({ name, folder, size, cases }: Fixture): Promise<boolean> {
  const repo = `owner/${name}`
  const server = await startHubServer({ repositories: { [repo]: fileURLToPath(new URL(`../${folder}`, import.meta.url)) } })
  await server.commit(repo)
  console.log(`\n${name}, ${size} × ${size}, ${steps} steps, software adapter`)
  console.log('| offload | budget | GPU buffers at most | weights at most | load s | first image s | next image s | image |')
  console.log('| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |')
  let expected: number | undefined
  let kept = true
  for (const [offload, maxMemory] of cases) {
    const bench = await openBenchPage()
    try {
      const result = await bench.page.evaluate(
        (request) => {
          if (window.makeImage === undefined) throw new Error('The page has no makeImage')
          return window.makeImage(request)
        },
        { endpoint: server.url, repo, device: 'webgpu', offload, maxMemory, size, steps, images: 2 } as const,
      )
      expected ??= result.pixels
      const { memory } = result
      const over = maxMemory !== undefined && memory.peak > maxMemory
      const times = [result.reloadSeconds, ...result.imageSeconds].map((time) => time.toFixed(2))
      const cells = [
        offload,
        maxMemory === undefined ? 'none' : formatBytes(maxMemory),
        formatBytes(memory.peak) + (over ? ' OVER' : ''),
        formatBytes(memory.peakWeights),
        ...times,
      ]
      console.log(`| ${cells.join(' | ')} | ${result.pixels === expected ? 'the same' : 'ANOTHER'} |`)
      kept &&= !over && result.pixels === expected
    } finally {
      await bench.close()
    }
  }
  await server.close()
  return kept
}
