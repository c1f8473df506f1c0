/** `aquatint inspect --embedding`: whether embeddings fit, and which word of a prompt stands for each. */

import { join } from 'node:path'
import { expect, it } from 'vitest'
import { fixtures, run, runJson } from '../testing.js'
import type { Inspection } from './inspect-repository.js'

const file = (name: string) => join(fixtures, 'textual-inversion', `${name}.safetensors`)

it('shows the word of an embedding that fits, and why another does not', async () => {
  const given = ['inspect', join(fixtures, 'tiny-sd15', 'repo'), '--embedding', file('a1111'), '--embedding', file('xl')]
  const { embeddings } = await runJson<Inspection>(given)
  expect(embeddings).toMatchObject([
    { source: file('a1111'), token: 'a1111', fits: true, components: ['text_encoder'], vectors: 3 },
    { source: file('xl'), token: 'xl', fits: false, code: 'not-an-embedding' },
  ])
  const { stdout } = await run(given)
  expect(stdout).toContain('fits text_encoder: prompts can use the word a1111, which is 3 tokens.')
  expect(stdout).toContain('does not fit: The embedding xl has 48 numbers for text_encoder_2')
})
