/** `aquatint inspect` describes a made-up pipeline class by its definition alone. src/pipelines/made-up-family.test.ts runs it. */

import { expect, it } from 'vitest'
import { families } from '../../src/pipelines/families.js'
import { madeUp, madeUpDenoiser, madeUpRepository } from '../../src/pipelines/testing-made-up.node.js'
import { report } from './inspect.js'
import { inspectRepository } from './inspect-repository.js'

const { signal } = new AbortController()
const request = { maxMemory: '2GB' }

it('describes a made-up class, with its memory plan', async () => {
  const unknown = await inspectRepository(madeUpRepository(), null, request, signal)
  expect(unknown.runs).toMatchObject({
    ok: false,
    problems: [
      { component: '', code: 'unsupported-class' },
      { component: 'transformer', code: 'unsupported-class' },
    ],
  })

  const inspection = await inspectRepository(madeUpRepository(), null, request, signal, { known: [...families, madeUp] })
  expect(inspection.runs).toEqual({ ok: true, problems: [], warnings: [] })
  expect(inspection.components.find(({ name }) => name === 'transformer')).toMatchObject({
    className: madeUpDenoiser,
    role: 'denoiser',
    weights: { tensors: 6 },
  })
  const text = report(inspection)
  expect(text).toMatch(/^MadeUpPipeline$/m)
  expect(text).toMatch(/^transformer +MadeUpTransformer2DModel +1 file +F32/m)
  expect(text).toContain('Aquatint can run it.')
  expect(text).toMatch(/^Memory for an image of 32 × 32/m)
})
