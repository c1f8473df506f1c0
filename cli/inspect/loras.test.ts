/** `aquatint inspect --lora`: whether LoRAs fit, and what they add to the memory plan. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { startHubServer } from '../../e2e/hub-server/server.js'
import { fixtures, run, runJson } from '../testing.js'
import type { Inspection } from './inspect-repository.js'

const model = join(fixtures, 'tiny-sd15', 'repo')
const lora = (name: string) => join(fixtures, 'lora', `${name}.safetensors`)

/** The weights of the networks in a plan. */
function plannedBytes({ memory }: Inspection): number {
  if (memory === null || !('devices' in memory)) throw new Error('There is no plan')
  return Object.values(memory.devices)
    .flatMap(({ components }) => components)
    .reduce((sum, { weightBytes }) => sum + weightBytes, 0)
}

it('shows the LoRAs that fit, and plans with them', async () => {
  const plain = await runJson<Inspection>(['inspect', model, '--max-memory', '2GB'])
  const given = ['inspect', model, '--lora', `${lora('kohya')}:0.5`, '--lora', lora('peft-sd3'), '--max-memory', '2GB']
  const inspection = await runJson<Inspection>(given)
  expect(inspection.runs.ok).toBe(true)
  const [fits, other] = inspection.loras
  expect(fits).toMatchObject({
    file: 'kohya.safetensors',
    weight: 0.5,
    fits: true,
    components: ['text_encoder', 'unet'],
    ignored: 0,
  })
  expect(fits).toMatchObject({ triggerWords: ['tiny dog'] })
  expect(other).toMatchObject({ file: 'peft-sd3.safetensors', weight: 1, fits: false, code: 'lora-mismatch' })
  // The factors are float16 in the file, and float32 on the device, like the checkpoint's weights.
  expect(plannedBytes(inspection) - plannedBytes(plain)).toBe(fits?.fits === true ? 2 * fits.bytes : 0)
  const { stdout } = await run(given)
  expect(stdout).toContain('LoRA kohya.safetensors at 0.5 fits text_encoder and unet')
  expect(stdout).toContain('LoRA peft-sd3.safetensors does not fit')
})

it('reads a LoRA from a repository, header only', async () => {
  const server = await startHubServer({
    repositories: { 'a/model': 'fixtures/tiny-sd15/repo', 'a/lora': { 'dogs.safetensors': readFileSync(lora('peft')) } },
  })
  onTestFinished(() => server.close())
  const { loras } = await runJson<Inspection>(['inspect', 'a/model', '--lora', 'a/lora:2', '--endpoint', server.url])
  expect(loras).toMatchObject([{ source: 'a/lora', weight: 2, file: 'dogs.safetensors', fits: true }])
})
