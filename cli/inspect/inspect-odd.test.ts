/** `aquatint inspect` on faulty repositories: reports faults, and says that a checkpoint runs if and only if `fromPretrained` loads it. */

import { cp, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { isAquatintError } from '../../src/errors.js'
import { loadPipeline } from '../../src/pipelines/diffusion-pipeline.js'
import { DiskRepository } from '../disk-repository.js'
import type { Inspection } from './inspect-repository.js'
import { filesBelow, fixtures, run, runJson, temporaryFolder } from '../testing.js'

const temporary = await temporaryFolder()
let count = 0

async function repository(fixture: string, change: (folder: string) => Promise<unknown>): Promise<string> {
  const folder = join(temporary, String(count++))
  await cp(join(fixtures, fixture, 'repo'), folder, { recursive: true })
  await change(folder)
  return folder
}

const pickled = async (folder: string, component: string) => {
  await mkdir(join(folder, component), { recursive: true })
  for (const path of (await filesBelow(join(folder, component))).keys())
    if (/safetensors/.test(path)) await rm(join(folder, component, path))
  await writeFile(join(folder, component, 'pytorch_model.bin'), 'pickled')
}

const named = async (folder: string, component: string, library: string, className: string) => {
  const path = join(folder, 'model_index.json')
  const index = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>
  await writeFile(path, JSON.stringify({ ...index, [component]: [library, className] }))
  await mkdir(join(folder, component), { recursive: true })
}

const configured = async (folder: string, component: string, keys: object) => {
  const path = join(folder, component, 'config.json')
  await writeFile(path, JSON.stringify({ ...(JSON.parse(await readFile(path, 'utf8')) as object), ...keys }))
}

const checker = async (folder: string) => {
  await named(folder, 'safety_checker', 'stable_diffusion', 'StableDiffusionSafetyChecker')
  await writeFile(join(folder, 'safety_checker/config.json'), '{"architectures": ["StableDiffusionSafetyChecker"]}')
  await pickled(folder, 'safety_checker')
}

const lfsPointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'4d'.repeat(32)}\nsize 492265874\n`

const networks = ['text_encoder', 'unet', 'vae']
const all = (code: string) => networks.map((component) => [component, code])

interface Odd {
  readonly what: string
  readonly change: (folder: string) => Promise<unknown>
  readonly fixture?: string
  readonly options?: readonly string[]
  readonly problems?: readonly (readonly string[])[]
  readonly notes?: readonly (readonly string[])[]
}

const odd: readonly Odd[] = [
  {
    what: 'a safety checker of pickled weights',
    change: checker,
    notes: [
      ['safety_checker', 'component-ignored'],
      ['safety_checker', 'pickle-weights'],
    ],
  },
  {
    what: 'a safety checker whose config is broken too',
    change: async (folder) => {
      await checker(folder)
      await writeFile(join(folder, 'safety_checker/config.json'), '{')
    },
    notes: [
      ['safety_checker', 'component-ignored'],
      ['safety_checker', 'json-syntax'],
      ['safety_checker', 'pickle-weights'],
    ],
  },
  {
    what: 'a safety checker whose file is cut short',
    change: async (folder) => {
      await checker(folder)
      await writeFile(join(folder, 'safety_checker/model.safetensors'), 'x')
    },
    notes: [
      ['safety_checker', 'component-ignored'],
      ['safety_checker', 'safetensors-too-short'],
    ],
  },
  {
    what: 'pickled weights only',
    change: async (folder) => {
      for (const component of networks) await pickled(folder, component)
    },
    problems: all('pickle-weights'),
  },
  {
    what: 'no weights at all',
    change: async (folder) => {
      for (const path of (await filesBelow(folder)).keys()) if (/safetensors/.test(path)) await rm(join(folder, path))
    },
    problems: all('weights-not-found'),
  },
  {
    what: 'only a variant, which was not requested',
    change: onlyVariant,
    fixture: 'tiny-sdxl',
    problems: ['text_encoder', 'text_encoder_2', 'unet', 'vae'].map((component) => [component, 'variant-not-found']),
  },
  { what: 'only a variant, which was requested', change: onlyVariant, fixture: 'tiny-sdxl', options: ['--variant', 'fp16'] },
  {
    what: 'a broken config',
    change: (folder) => writeFile(join(folder, 'vae/config.json'), '{"_class_name": '),
    problems: [['vae', 'json-syntax']],
  },
  {
    what: 'a config that is a list, and one that is too long',
    change: async (folder) => {
      await writeFile(join(folder, 'vae/config.json'), '[]')
      await writeFile(join(folder, 'unet/config.json'), ' '.repeat(10_000_001))
    },
    problems: [
      ['unet', 'json-too-large'],
      ['vae', 'config-not-object'],
    ],
  },
  {
    what: 'Git LFS pointers in place of weights and of a config',
    change: async (folder) => {
      await writeFile(join(folder, 'vae/config.json'), lfsPointer)
      await writeFile(join(folder, 'text_encoder/model.safetensors'), lfsPointer)
    },
    problems: [
      ['text_encoder', 'lfs-pointer'],
      ['vae', 'lfs-pointer'],
    ],
  },
  {
    what: 'an index that names a missing shard',
    change: (folder) =>
      rename(join(folder, 'unet/diffusion_pytorch_model-00001-of-00003.safetensors'), join(folder, 'unet/lost')),
    problems: [['unet', 'shard-missing']],
  },
  {
    what: 'a scheduler without its config',
    change: (folder) => rm(join(folder, 'scheduler/scheduler_config.json')),
    problems: [['scheduler', 'file-not-found']],
  },
  {
    what: 'a UNet for inpainting',
    change: (folder) => configured(folder, 'unet', { in_channels: 9 }),
    // The fixture's weights have 4 input channels.
    problems: [
      ['unet', 'unsupported-config'],
      ['unet', 'shape-mismatch'],
    ],
  },
  {
    what: 'a UNet of another text encoder',
    change: (folder) => configured(folder, 'unet', { cross_attention_dim: 40 }),
    problems: [
      ['unet', 'unsupported-config'],
      ['unet', 'shape-mismatch'],
    ],
  },
  {
    what: 'a size of no pixels',
    change: (folder) => configured(folder, 'unet', { sample_size: [0, 8] }),
    notes: [['unet', 'size-replaced']],
  },
  {
    what: 'a component that no pipeline knows',
    change: (folder) => named(folder, 'my_adapter', 'diffusers', 'Toy'),
    notes: [['my_adapter', 'component-unknown']],
  },
]

async function onlyVariant(folder: string): Promise<void> {
  for (const path of (await filesBelow(folder)).keys())
    if (/safetensors/.test(path) && !path.includes('fp16')) await rm(join(folder, path))
}

it.each(odd)(
  'inspect reports the problems and notes of $what',
  async ({ change, fixture = 'tiny-sd15', options = [], problems = [], notes = [] }) => {
    const folder = await repository(fixture, change)
    const { ok, runs, variants } = await runJson<Inspection>(['inspect', folder, ...options])
    expect(ok).toBe(true)
    expect(runs.problems.map(({ component, code }) => [component, code])).toEqual(problems)
    expect(runs.warnings.map(({ component, code }) => [component, code])).toEqual(notes)
    for (const { code, message } of runs.warnings)
      if (code === 'component-ignored') expect(message).toMatch(/^(?:It is|Aquatint does) .*\.$/)
    if (change === onlyVariant) expect(variants).toEqual(['fp16'])
    const { code, stdout, stderr } = await run(['inspect', folder, ...options])
    expect([code, stderr]).toEqual([0, ''])
    for (const { message } of runs.problems) expect(stdout).toContain(message)
    for (const { message } of runs.warnings)
      expect(stdout).toMatch(new RegExp(`^Note: .*${message.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`, 'm'))

    // `inspect` must report the same error as a load of the same folder, or none.
    const files = new DiskRepository(folder)
    const variant = options[1]
    const refused = await loadPipeline(files, { device: 'wasm', variant }).then(
      async (pipeline) => {
        await pipeline.dispose()
        return undefined
      },
      (error: unknown) => (isAquatintError(error) ? error.code : String(error)),
    )
    await files.close()
    if (problems.length === 0) expect(refused).toBeUndefined()
    else expect(problems.map(([, code]) => code)).toContain(refused)
    expect(runs.ok).toBe(refused === undefined)
  },
)

it('names the option for the variant', async () => {
  const folder = await repository('tiny-sdxl', onlyVariant)
  expect((await run(['inspect', folder])).stdout).toContain('Look at a variant with --variant fp16.')
})

it('reports the broken config of a single component', async () => {
  const folder = await repository('tiny-sd15', (folder) => writeFile(join(folder, 'vae/config.json'), '{'))
  const { ok, runs } = await runJson<Inspection>(['inspect', join(folder, 'vae')])
  expect([ok, runs]).toMatchObject([true, { ok: false, problems: [{ component: '', code: 'json-syntax' }] }])
})
