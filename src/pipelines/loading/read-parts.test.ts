/** The loading code reads a checkpoint only through a `Layout`, and can collect the errors of single components. */

import { expect, test } from 'vitest'
import type { ComponentFiles, Layout } from '../../checkpoint/layouts/layout.js'
import { openLayout } from '../../checkpoint/layouts/open-layout.js'
import type { Repository } from '../../hub/types.js'
import { families } from '../families.js'
import { Run } from '../run.js'
import { diskRepository } from '../testing.node.js'
import { findSpec } from './find-pipeline.js'
import { readNetworkHeaders } from './read-network-headers.js'
import { readParts, readPartsWithFaults } from './read-parts.js'

const repo = 'fixtures/tiny-sd15/repo'
const request = (layout: Layout) => ({
  layout,
  spec: findSpec(layout, families, new Run({})),
  options: {},
  open: () => Promise.reject(new Error('No other repository is opened')),
  run: new Run({}),
})

/** A layout whose repository lists no files: each component opens its files itself. */
async function unlistedLayout(): Promise<Layout> {
  const folder = await openLayout(diskRepository(repo))
  const repository: Repository = {
    id: 'one-file',
    revision: 'test',
    files: () => Promise.resolve([]),
    open: (path) => Promise.reject(new Error(`${path} is not opened by path`)),
  }
  const components = [...folder.components].map(([name, component]) => {
    if (component === null) return [name, null] as const
    const { files } = component
    const elsewhere: ComponentFiles = {
      repository,
      path: (file) => `${name} of one-file: ${file}`,
      has: (file) => files.has(file),
      open: (file) => files.open(file),
      readConfig: (file) => files.readConfig(file),
      variants: () => Promise.resolve([]),
      chooseWeights: (choice) => files.chooseWeights(choice),
      through: () => elsewhere,
    }
    return [name, { ...component, files: elsewhere }] as const
  })
  return { ...folder, repository, components: new Map(components) }
}

/** Everything that the loading code reads through a layout. */
const read = async (layout: Layout) => {
  const { sources, scheduler, tokenizers } = await readParts(request(layout))
  const networks = await readNetworkHeaders({ sources, options: { dtype: 'q8' }, run: new Run({}) })
  const tables = [...networks].map(([name, { table, repo: from }]) => [name, [...table.keys()], from] as const)
  return { scheduler, tokenizers: [...tokenizers.keys()], tables }
}

test('a pipeline is read from any layout', async () => {
  const [folder, other] = [await openLayout(diskRepository(repo)), await unlistedLayout()]
  const [expected, actual] = [await read(folder), await read(other)]
  expect(actual.tables.map(([, , from]) => from)).toEqual(['one-file', 'one-file', 'one-file'])
  const named = ({ tables, ...rest }: typeof expected) => ({ ...rest, tables: tables.map(([name, tensors]) => [name, tensors]) })
  expect(named(actual)).toEqual(named(expected))
})

const broken = () => openLayout(diskRepository(repo, { 'vae/config.json': '{', 'tokenizer/vocab.json': '[]' }))

test('errors of single components are collected, or the first is thrown', async () => {
  const faults = new Map<string, unknown>()
  const parts = await readPartsWithFaults(request(await broken()), (component, error) => faults.set(component, error))
  expect(parts.sources.map(({ name }) => name)).toEqual(['text_encoder', 'unet'])
  expect(faults.get('vae')).toMatchObject({ code: 'json-syntax' })
  await expect(broken().then((layout) => readParts(request(layout)))).rejects.toMatchObject({ name: 'CheckpointError' })
})
