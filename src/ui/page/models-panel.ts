/** The panel of downloaded models: lists, verifies and deletes them, shows the free storage, and asks the browser for persistent storage. */

import { expiryNote, limitNote, readStorageRules } from './storage-rules.js'
import { ModelCache, type CachedModel } from '../../index.js'
import { h, setText } from '../parts/dom.js'
import { formatBytes } from '../../util/format-bytes.js'
import { openDialog } from './dialog.js'
import { modelName } from './model-name.js'

const nameOf = (model: CachedModel) => modelName(model, location.href)

/** Opens the dialog. */
export function openModels(): void {
  const panel = new ModelsPanel()
  openDialog('Downloaded models', panel.element, { onClose: () => panel.close() })
  void panel.show()
}

class ModelsPanel {
  readonly element: HTMLElement
  readonly #cache = new ModelCache()
  readonly #list = h('ul', { class: 'rows' })
  readonly #space = h('p')
  readonly #said = h('p', { role: 'status' })
  readonly #keep = h('button', { type: 'button' }, 'Ask the browser to keep them')
  readonly #closed = new AbortController()

  constructor() {
    this.#keep.addEventListener('click', () => void this.#persist())
    this.#keep.hidden = true
    this.element = h('div', { class: 'picture' }, this.#space, this.#list, h('div', { class: 'tools' }, this.#keep), this.#said)
  }

  close(): void {
    this.#closed.abort()
  }

  async show(): Promise<void> {
    setText(this.#said, 'Loading…')
    await this.#attempt(async () => {
      const models = await this.#cache.list()
      this.#list.replaceChildren(...models.map((model) => this.#row(model)))
      setText(this.#said, models.length === 0 ? 'No models downloaded yet. A model is downloaded on first use.' : '')
      await this.#showSpace(models)
    })
  }

  #row(model: CachedModel): HTMLElement {
    const parts = model.files.filter((file) => !file.complete).length
    const what = [
      formatBytes(model.stored),
      model.files.length === 1 ? '1 file' : `${model.files.length} files`,
      parts === 0 ? '' : `${parts} incomplete`,
      `last used ${model.lastUsed.toLocaleDateString(undefined, { dateStyle: 'medium' })}`,
      /^[0-9a-f]{40}$/.test(model.revision) ? `commit ${model.revision.slice(0, 8)}` : '',
    ]
    const row = h(
      'li',
      {},
      h('span', { class: 'name' }, nameOf(model)),
      h('span', { class: 'what' }, what.filter((part) => part !== '').join(' · ')),
      h(
        'span',
        { class: 'tools' },
        h(
          'button',
          { type: 'button', 'aria-label': `Verify ${nameOf(model)}`, onclick: () => void this.#verify(model) },
          'Verify',
        ),
        h(
          'button',
          { type: 'button', 'aria-label': `Delete ${nameOf(model)}`, onclick: () => void this.#delete(model) },
          'Delete',
        ),
      ),
    )
    return row
  }

  async #verify(model: CachedModel): Promise<void> {
    setText(this.#said, `Verifying ${nameOf(model)} against its hashes…`)
    await this.#attempt(async () => {
      const { chunks, bad } = await this.#cache.verify(model, { signal: this.#closed.signal })
      await this.show()
      const found =
        bad.length === 0
          ? `all ${chunks} chunks are intact.`
          : `${bad.length} of ${chunks} chunks were damaged and have been deleted. The next load downloads only these again.`
      setText(this.#said, `${nameOf(model)}: ${found}`)
    })
  }

  async #delete(model: CachedModel): Promise<void> {
    await this.#attempt(async () => {
      const freed = await this.#cache.delete(model)
      await this.show()
      setText(
        this.#said,
        freed > 0
          ? `Freed ${formatBytes(freed)}.`
          : 'Nothing was deleted: the model is in use, or shares all its files with another model.',
      )
    })
  }

  async #showSpace(models: readonly CachedModel[]): Promise<void> {
    // `navigator.storage` is missing on insecure origins.
    const storage = navigator.storage as StorageManager | undefined
    const estimate = await storage?.estimate()
    const rules = await readStorageRules()
    const { persisted } = rules
    const room =
      estimate?.quota === undefined || estimate.usage === undefined
        ? ''
        : `The browser estimates that about ${formatBytes(Math.max(0, estimate.quota - estimate.usage))} more can be stored.`
    const kept = persisted
      ? ' The browser has agreed not to delete models on its own.'
      : models.length === 0
        ? ''
        : [' When the disk is nearly full, the browser may delete models without asking.', expiryNote(rules), limitNote(rules)]
            .filter((note) => note !== undefined)
            .join(' ')
    setText(this.#space, room + kept)
    this.#keep.hidden = persisted || models.length === 0 || !rules.canAsk
  }

  async #persist(): Promise<void> {
    await this.#attempt(async () => {
      const granted = await navigator.storage.persist()
      const { isWebKit } = await readStorageRules()
      await this.show()
      setText(
        this.#said,
        granted
          ? 'The browser will keep the models.'
          : `The browser refused. Most browsers agree once the page is installed or bookmarked.${isWebKit ? ' Safari decides this without asking you.' : ''}`,
      )
    })
  }

  async #attempt(task: () => Promise<void>): Promise<void> {
    try {
      await task()
    } catch (error) {
      if (this.#closed.signal.aborted) return
      setText(this.#said, `The browser’s storage failed: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
}
