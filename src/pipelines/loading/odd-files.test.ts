/**
 * Checkpoints whose files are not as `save_pretrained` writes them (fixtures/odd-files), each judged by diffusers: one that it runs loads here too, or is
 * refused by name where its image is another one; one that it refuses is refused here with a code, or does no harm.
 */

import { expect, test } from 'vitest'
import { openLayout } from '../../checkpoint/layouts/open-layout.js'
import { isAquatintError } from '../../errors.js'
import { families } from '../families.js'
import { Run } from '../run.js'
import { oddRepository, readOddFilesCases, type OddFilesCase } from '../testing-odd-files.node.js'
import { findSpec } from './find-pipeline.js'
import { readNetworkHeaders } from './read-network-headers.js'
import { readParts } from './read-parts.js'

const open = () => Promise.reject(new Error('No other repository is opened'))

/** Reads a checkpoint as far as the headers of its weights: of these and of the tokenizer only what the case can have changed. */
async function load(item: OddFilesCase): Promise<void> {
  const { options = {} } = item
  const changes = JSON.stringify(item)
  const run = new Run({})
  const layout = await openLayout(oddRepository(item))
  const whole = findSpec(layout, families, run)
  const spec = changes.includes('tokenizer') ? whole : { ...whole, tokenizers: {} }
  const { sources } = await readParts({ layout, spec, options, open, run })
  if (/safetensors|variant|model_index|stray|backup/.test(changes)) await readNetworkHeaders({ sources, options, run })
}

/** What diffusers runs with another image, and Aquatint refuses by name. */
const refused = new Set(['unsupported-class', 'unsupported-config'])

const cases = readOddFilesCases()
const kinds = [...new Set(cases.map(({ kind }) => kind))].map(
  (kind) => [kind, cases.filter((item) => item.kind === kind)] as const,
)

test.each(kinds)('kind %i', async (_, items) => {
  const faults: string[] = []
  for (const item of items) {
    try {
      await load(item)
    } catch (error) {
      if (!isAquatintError(error)) faults.push(`${item.name}: fails without a code: ${String(error)}`)
      else if (item.judged === 'same' || (item.judged === 'other' && !refused.has(error.code)))
        faults.push(`${item.name}: ${error.code}: ${error.message}`)
    }
  }
  expect(faults).toEqual([])
})

test.each([
  ['a Git LFS pointer in place of merges.txt', 'lfs-pointer'],
  ['a Git LFS pointer in place of vocab.json', 'lfs-pointer'],
  ['a Git LFS pointer in place of an index', 'lfs-pointer'],
  ['a page in place of merges.txt', 'html-page'],
  ['an empty weight file', 'empty-file'],
  ['a pickle under the name of safetensors', 'pickle-file'],
  ['a shard that is missing', 'shard-missing'],
])('%s is called by its name', async (name, code) => {
  const item = cases.find((candidate) => candidate.name === name)
  expect(item?.judged).toBe('error')
  if (item !== undefined) await expect(load(item)).rejects.toMatchObject({ code })
})
