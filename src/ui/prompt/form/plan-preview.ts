/** Shows the download size and memory of a model before it is loaded, planned from file headers. A new request aborts the previous one. */

import { DiffusionPipeline, type LoadPipelineOptions, type RepositoryReference } from '../../../index.js'
import { errorWords } from '../../parts/error-words.js'
import type { ModelField } from './model-field.js'
import { planWords } from './plan-words.js'

/** Plans the model in a field, and shows the plan below the field. */
export class PlanPreview {
  readonly #field: ModelField
  #request: AbortController | undefined

  constructor(field: ModelField) {
    this.#field = field
  }

  /** Plans the model that the field names. A listed model needs no plan unless a `dtype` is set, because the list states its size. */
  async show(options: LoadPipelineOptions): Promise<void> {
    this.clear()
    const { value, isListed, reference } = this.#field
    if (value === '' || (isListed && options.dtype === undefined)) return
    const request = new AbortController()
    this.#request = request
    this.#field.planPreview = 'Checking the model…'
    const text = await describePlan(reference, { ...options, signal: request.signal })
    if (this.#request === request) this.#field.planPreview = text
  }

  /** Cancels a running request and removes the text. */
  clear(): void {
    this.#request?.abort()
    this.#request = undefined
    this.#field.planPreview = ''
  }
}

async function describePlan(
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
