/** What a model that the reader named would cost, asked of its repository before anything of it is loaded. The newest question counts. */

import { DiffusionPipeline, type LoadPipelineOptions, type RepositoryReference } from '../../../index.js'
import { errorWords } from '../../parts/error-words.js'
import type { ModelField } from './model-field.js'
import { planWords } from './plan-words.js'

/** Asks about the model in a field, and has the field show what comes back. */
export class ModelOutlook {
  readonly #field: ModelField
  #asking: AbortController | undefined

  constructor(field: ModelField) {
    this.#field = field
  }

  /** Looks at the model as it stands, unless it is one of those offered and taken as it is, whose cost is known. */
  async look(options: LoadPipelineOptions): Promise<void> {
    this.forget()
    const { value, isListed, reference } = this.#field
    if (value === '' || (isListed && options.dtype === undefined)) return
    const asking = new AbortController()
    this.#asking = asking
    this.#field.outlook = 'Checking the model…'
    const text = await outlook(reference, { ...options, signal: asking.signal })
    if (this.#asking === asking) this.#field.outlook = text
  }

  /** Says nothing any more. */
  forget(): void {
    this.#asking?.abort()
    this.#asking = undefined
    this.#field.outlook = ''
  }
}

async function outlook(
  model: RepositoryReference,
  options: LoadPipelineOptions & { readonly signal: AbortSignal },
): Promise<string> {
  try {
    return planWords(await DiffusionPipeline.plan(model, options))
  } catch (error) {
    const { title, message } = errorWords(error)
    return `${title}. ${message}`
  }
}
