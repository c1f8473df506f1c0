/** Options that a class does not have give a warning: the classes are compared with the signatures of diffusers' classes (fixtures/image-to-image). */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadPipeline } from '../diffusion-pipeline.js'
import { families } from '../families.js'
import { Run } from '../run.js'
import { diskRepository, fixtures } from '../testing.node.js'
import type { GenerateOptions } from '../types.js'
import { warnOfUnusedOptions } from './unused-options.js'

const argumentsOf = JSON.parse(readFileSync(join(fixtures, 'image-to-image', 'arguments.json'), 'utf8')) as Readonly<
  Record<string, readonly string[]>
>
const snakeCase = (name: string) => name.replace(/[A-Z0-9]/g, (sign) => `_${sign.toLowerCase()}`)

const all = {
  prompt2: 'a',
  negativePrompt: 'a',
  negativePrompt2: ['', 'a'],
  prompt3: 'a',
  negativePrompt3: 'a',
  trueCfgScale: 2,
  cfgNormalization: true,
  cfgTruncation: 0.5,
  guidanceRescale: 0.5,
  clipSkip: 1,
  maxSequenceLength: 16,
  skipGuidanceLayers: [0],
  skipLayerGuidanceScale: 1,
  skipLayerGuidanceStart: 0.1,
  skipLayerGuidanceStop: 0.1,
  originalSize: [8, 8],
  cropsCoordsTopLeft: [0, 0],
  targetSize: [8, 8],
  negativeOriginalSize: [8, 8],
  negativeCropsCoordsTopLeft: [0, 0],
  negativeTargetSize: [8, 8],
} as const satisfies GenerateOptions

function warningsOf(family: (typeof families)[number], options: GenerateOptions, takesClipSkip = true): readonly string[] {
  const run = new Run({})
  warnOfUnusedOptions(family, options, takesClipSkip, run)
  return run.warnings
}

test.each(families.map((family) => [family.className, family] as const))(
  '%s warns of the options that its class in diffusers lacks, and of no others',
  (name, family) => {
    const own = argumentsOf[name] ?? []
    expect(own.length).toBeGreaterThan(0)
    const said = warningsOf(family, all, own.includes('clip_skip')).join(' ')
    for (const option of Object.keys(all)) {
      const named =
        option === 'negativePrompt' ? said.includes('has no negative prompt') : new RegExp(`\\b${option}\\b`).test(said)
      expect(named, option).toBe(!own.includes(snakeCase(option)))
    }
  },
)

test('values that have no effect in any class give no warning', () => {
  const nothing = {
    prompt2: '',
    negativePrompt3: [''],
    trueCfgScale: 1,
    cfgNormalization: false,
    cfgTruncation: 1,
    guidanceRescale: 0,
  }
  for (const family of families) expect(warningsOf(family, nothing)).toEqual([])
})

test('a generation warns of clipSkip without hidden states of CLIP, and of a strength without an image', async () => {
  const call = { numInferenceSteps: 1, width: 16, height: 16, seed: 1, clipSkip: 1, strength: 0.5 } as const
  const flux = await loadPipeline(diskRepository(join(fixtures, 'tiny-flux', 'repo')), { device: 'wasm' })
  expect((await flux.generate('a dog', { ...call, maxSequenceLength: 24 })).warnings).toEqual([
    'FluxPipeline has no clipSkip; the value is not used.',
    'strength is not used without an image to start from.',
  ])
  await flux.dispose()
  const klein = await loadPipeline(diskRepository(join(fixtures, 'tiny-flux2-klein', 'repo')), { device: 'wasm' })
  const { warnings } = await klein.generate('a dog', { ...call, clipSkip: undefined, maxSequenceLength: 64 })
  expect(warnings).toEqual([
    'strength is not used: the images of Flux2KleinPipeline are references, from which it does not start.',
  ])
  await klein.dispose()
  const xl = await loadPipeline(diskRepository(join(fixtures, 'tiny-sdxl', 'repo')), { device: 'wasm' })
  expect((await xl.generate('a dog', { ...call, strength: undefined, originalSize: [8, 8] })).warnings).toEqual([])
  await xl.dispose()
})
