/** `aquatint inspect` of a checkpoint in one file shows what it shows for the same checkpoint in folders, or why the file is no checkpoint. */

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { startHubServer } from '../../e2e/hub-server/server.js'
import { singleFileOf } from '../../src/checkpoint/layouts/single-file/testing.node.js'
import { fixtures, run, runJson, temporaryFolder } from '../testing.js'
import type { Inspection } from './inspect-repository.js'

const temporary = await temporaryFolder()
const repo = join(fixtures, 'tiny-sdxl', 'repo')
const file = join(temporary, 'mine.safetensors')
await writeFile(file, await singleFileOf('tiny-sdxl'))

const parts = ({ components }: Inspection) =>
  Object.fromEntries(components.map(({ name, className, weights }) => [name, [className, weights?.tensors, weights?.parameters]]))

describe('a checkpoint in one file', () => {
  it('is described like the same checkpoint in folders', async () => {
    const inspection = await runJson<Inspection>(['inspect', file, '--config', repo, '--max-memory', '2GB'])
    const folders = await runJson<Inspection>(['inspect', repo])
    expect(parts(inspection)).toEqual(parts(folders))
    expect(inspection).toMatchObject({
      repository: 'mine.safetensors',
      pipeline: 'StableDiffusionXLPipeline',
      runs: { ok: true },
    })
    expect(inspection.memory).not.toBeNull()
    const { stdout } = await run(['inspect', file, '--config', repo])
    expect(stdout).toMatch(/unet +UNet2DConditionModel +1 file/)
    expect(stdout).toContain('Aquatint can run it.')
  })

  it('is read by its address on the Hub, header only', async () => {
    const server = await startHubServer({
      repositories: { 'a/one': { 'mine.safetensors': await singleFileOf('tiny-sd15') }, 'a/configs': 'fixtures/tiny-sd15/repo' },
    })
    onTestFinished(() => server.close())
    const address = `${server.url}/a/one/blob/main/mine.safetensors`
    const inspection = await runJson<Inspection>(['inspect', address, '--config', 'a/configs', '--endpoint', server.url])
    expect(inspection).toMatchObject({ ok: true, repository: 'a/one', runs: { ok: true, problems: [] } })
    expect(server.log.filter(({ path }) => path.includes('a/configs') && path.includes('.safetensors'))).toEqual([])
  })

  it('shows a GGUF file with the components that it lacks', async () => {
    const gguf = join(fixtures, 'gguf', 'transformer.gguf')
    const config = join(fixtures, 'tiny-sd35', 'repo')
    const inspection = await runJson<Inspection>(['inspect', gguf, '--config', config, '--max-memory', '2GB'])
    const folders = await runJson<Inspection>(['inspect', config])
    expect(inspection).toMatchObject({ repository: 'transformer.gguf', pipeline: 'StableDiffusion3Pipeline', runs: { ok: true } })
    expect(parts(inspection)).toEqual(parts(folders))
    expect(inspection.memory).not.toBeNull()
    const { stdout, stderr } = await run(['inspect', gguf, '--config', config])
    expect(stdout).toContain('Aquatint can run it.')
    expect(stderr).toContain('transformer.gguf has no text_encoder, text_encoder_2, vae')
  })

  it('reports the component that the file lacks', async () => {
    const lacking = join(temporary, 'no-vae.safetensors')
    const bytes = Buffer.from(await singleFileOf('tiny-sd15'))
    // Another prefix of the same length hides the autoencoder.
    await writeFile(
      lacking,
      Buffer.from(bytes.toString('latin1').replaceAll('first_stage_model.', 'other_stage_model.'), 'latin1'),
    )
    const { runs } = await runJson<Inspection>(['inspect', lacking, '--config', join(fixtures, 'tiny-sd15', 'repo')])
    expect(runs.ok).toBe(false)
    expect(runs.problems).toEqual([expect.objectContaining({ component: 'vae' })])
  })
})

describe('a file that is no checkpoint', () => {
  it.each([
    ['weights.ckpt', 'pickle-weights', 'x'],
    ['broken.safetensors', 'safetensors-too-short', 'x'],
    ['notes.txt', 'not-a-folder', 'x'],
  ])('is refused: %s, with the code %s', async (name, code, content) => {
    const path = join(temporary, name)
    await writeFile(path, content)
    expect((await runJson(['inspect', path, '--config', repo])).error).toMatchObject({ code })
  })
})
