/** For browser tests of `prepareFor`: a repository whose weights arrive only when all kernels are compiled, and the count of compiled kernels. */

import { vi } from 'vitest'
import type { Repository } from '../hub/types.js'
import { caseOptions, type FixtureCase } from './testing-cases.js'
import type { OpenPipelineOptions } from './loading/find-pipeline.js'
import type { PlannedSize } from './types.js'

/** The same repository, but its weights arrive only after `arrived` resolves. Their headers can be read before. */
export function arriving(repository: Repository, arrived: Promise<void>): Repository {
  return {
    ...repository,
    open: async (path, options) => {
      if (path.endsWith('.safetensors')) await arrived
      return repository.open(path, options)
    },
    openHeaderOnly: async (path, options) => {
      const source = await repository.open(path, options)
      return { byteLength: source.byteLength, read: source.read.bind(source), cost: () => ({ fetched: 0, kept: 0 }) }
    },
  }
}

/** A promise, and the function that resolves it. */
export function gate(): { readonly arrived: Promise<void>; readonly arrive: () => void } {
  const opened: (() => void)[] = []
  const arrived = new Promise<void>((resolve) => void opened.push(resolve))
  return { arrived, arrive: () => opened[0]?.() }
}

/** The value of `prepareFor` for the generation of a fixture's case. */
export function preparedCase(item: FixtureCase): PlannedSize {
  const { width, height, maxSequenceLength, guidanceScale, trueCfgScale, skipGuidanceLayers } = caseOptions(item, '')
  return { width, height, maxSequenceLength, guidanceScale, trueCfgScale, skipGuidanceLayers }
}

/** A load whose kernels are compiled before its weights arrive. */
export interface PreparedLoad {
  readonly repository: Repository
  readonly options: Pick<OpenPipelineOptions, 'prepareFor' | 'onPreparation'>
  /** How many kernels were compiled before the weights arrived, and the names of those compiled later. */
  readonly compiled: () => { readonly before: number; readonly after: readonly string[] }
  /** Ends the count. */
  readonly end: () => void
}

/** Delays a repository's weights until the kernels of a case are compiled. Counts what all code of this page compiles. */
export function prepareFirst(repository: Repository, item: FixtureCase): PreparedLoad {
  const spies = [
    vi.spyOn(GPUDevice.prototype, 'createComputePipeline'),
    vi.spyOn(GPUDevice.prototype, 'createComputePipelineAsync'),
  ]
  const names = () => spies.flatMap(({ mock }) => mock.calls.map(([{ label, compute }]) => compute.module.label || label || ''))
  const { arrived, arrive } = gate()
  let before: readonly string[] = []
  return {
    repository: arriving(repository, arrived),
    options: {
      prepareFor: preparedCase(item),
      onPreparation: (preparation) =>
        void preparation.done().then(() => {
          before = names()
          return arrive()
        }),
    },
    compiled: () => {
      const after = names()
      // The names that remain are those of the kernels compiled after the weights arrived.
      for (const name of before) after.splice(after.indexOf(name), 1)
      return { before: before.length, after }
    },
    end: () => {
      for (const spy of spies) spy.mockRestore()
    },
  }
}
