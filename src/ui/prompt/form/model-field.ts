/** Lets the user choose a model from a list, enter another repository or URL, pick a folder or a file, and enter an access token. */

import type { LoadPipelineOptions, RepositoryReference } from '../../../index.js'
import { h, setText } from '../../parts/dom.js'
import { folderName, onlyFile, pickFile, pickFolder, type Folder } from './pick-folder.js'

/** A model in the list. */
export interface ModelOption {
  /** A repository id, an absolute URL, or a path that starts with `./`. */
  readonly model: string
  /** The model's label in the list. */
  readonly label: string
  /** A note below the list, such as the size of the download. */
  readonly note?: string | undefined
  /** The options to load it with, such as its `variant`. */
  readonly loadOptions?: LoadPipelineOptions | undefined
}

const other = 'other'

/** The field. Calls `onChange` after the user changed it. */
export class ModelField {
  readonly element: HTMLElement
  readonly #select: HTMLSelectElement
  readonly #input: HTMLInputElement
  readonly #inputRow: HTMLElement
  readonly #note = h('p', { class: 'note', id: 'model-note', 'aria-live': 'polite' })
  readonly #folder = h('button', { type: 'button' }, 'Folder…')
  readonly #file = h('button', { type: 'button', title: 'A checkpoint in one file: .safetensors or .gguf' }, 'File…')
  /** The access token. It stays in memory, and is not written to links, pictures or storage. */
  readonly #token = h('input', {
    id: 'model-token',
    type: 'password',
    autocomplete: 'off',
    spellcheck: 'false',
    'aria-describedby': 'model-token-note',
  })
  readonly #tokenRow = h(
    'details',
    { class: 'token' },
    h('summary', {}, 'Access token'),
    h('label', { for: 'model-token' }, 'Token for gated models of Hugging Face, or for Civitai'),
    this.#token,
    h(
      'p',
      { class: 'note', id: 'model-token-note' },
      'It stays in this tab until the page is closed, and goes to that site only.',
    ),
  )
  #options: readonly ModelOption[] = []
  /** The text about the plan of a model that is not in the list, or for which a type of weights is chosen. Empty if there is none. */
  #planPreview = ''
  #picked: { readonly name: string; readonly reference: RepositoryReference } | undefined

  constructor(onChange: () => void) {
    this.#select = h('select', { id: 'model-select', 'aria-describedby': 'model-note' })
    this.#select.addEventListener('change', () => {
      const open = this.#select.value === other
      this.#inputRow.hidden = !open
      if (open) {
        // Clear the field if it holds the name of the listed model that was chosen before.
        if (this.#options.some(({ model }) => model === this.#input.value)) this.#input.value = ''
        this.#input.focus()
      } else this.#input.value = this.#select.value
      this.#drawNote()
      onChange()
    })
    this.#input = h('input', {
      id: 'model',
      type: 'text',
      placeholder: 'owner/name, or https://…',
      spellcheck: 'false',
      autocapitalize: 'off',
      autocomplete: 'off',
      'aria-describedby': 'model-note',
    })
    this.#input.addEventListener('change', onChange)
    this.#token.addEventListener('change', onChange)
    this.#folder.addEventListener('click', () => void this.#pick(pickFolder, onChange))
    this.#file.addEventListener('click', () => void this.#pick(pickFile, onChange))
    this.#inputRow = h('div', { class: 'with-button' }, this.#input, this.#folder, this.#file)
    this.element = h(
      'div',
      { class: 'field model', part: 'model' },
      h('label', { for: 'model' }, 'Model'),
      this.#select,
      this.#inputRow,
      this.#note,
      this.#tokenRow,
    )
    this.#draw()
  }

  get value(): string {
    return this.#select.hidden || this.#select.value === other ? this.#input.value.trim() : this.#select.value
  }

  set value(model: string) {
    this.#input.value = model
    this.#choose(model)
  }

  /** Sets a folder, or a checkpoint in one file, instead of a name. */
  set folder(folder: Folder) {
    this.#picked = { name: onlyFile(folder)?.name ?? `${folderName(folder) ?? 'files'} (folder)`, reference: folder }
    this.value = this.#picked.name
  }

  /** What to load: the value, or the picked folder if the field still shows it. */
  get reference(): RepositoryReference {
    const { value } = this
    if (this.#picked?.name === value) return this.#picked.reference
    return this.#token.value === '' ? value : withCivitaiToken(value, this.#token.value.trim())
  }

  /** The load options of the chosen model, if it is in the list, and the token. */
  get loadOptions(): LoadPipelineOptions {
    const listed = this.#options.find(({ model }) => model === this.value)?.loadOptions ?? {}
    const token = this.#token.value.trim()
    return token === '' || isCivitai(this.value) ? listed : { ...listed, token }
  }

  /** The models in the list. With an empty list, only the text field is shown. */
  get options(): readonly ModelOption[] {
    return this.#options
  }

  set options(options: readonly ModelOption[]) {
    const { value } = this
    this.#options = options
    this.#input.value = value
    this.#draw()
  }

  /** Whether the model is in the list. */
  get isListed(): boolean {
    return this.#options.some(({ model }) => model === this.value)
  }

  /** A sentence about the plan of the model; empty while none is known. */
  set planPreview(text: string) {
    this.#planPreview = text
    this.#drawNote()
  }

  set disabled(disabled: boolean) {
    this.#select.disabled = disabled
    this.#input.disabled = disabled
    this.#folder.disabled = disabled
    this.#file.disabled = disabled
    this.#token.disabled = disabled
  }

  #draw(): void {
    const listed = this.#options.length > 0
    this.#select.hidden = !listed
    this.element.querySelector('label')?.setAttribute('for', listed ? 'model-select' : 'model')
    if (listed) this.#input.setAttribute('aria-label', 'Repository, URL or path')
    else this.#input.removeAttribute('aria-label')
    this.#select.replaceChildren(
      ...this.#options.map(({ model, label }) => h('option', { value: model }, label)),
      h('option', { value: other }, 'Another model…'),
    )
    this.#choose(this.#input.value)
  }

  #choose(model: string): void {
    const known = this.#options.some((option) => option.model === model)
    this.#select.value = known ? model : other
    this.#inputRow.hidden = !this.#select.hidden && known
    this.#drawNote()
  }

  #drawNote(): void {
    const note = this.#options.find(({ model }) => model === this.value)?.note
    const unlisted = this.#select.hidden ? '' : 'Any diffusers repository of a supported model family.'
    setText(this.#note, this.#planPreview || (note ?? unlisted))
    this.#note.hidden = this.#note.textContent === ''
    // A listed model of the page's own server needs no token.
    this.#tokenRow.hidden = this.isListed && /^\.{0,2}\//.test(this.value)
  }

  async #pick(pick: () => Promise<Folder | undefined>, onChange: () => void): Promise<void> {
    const folder = await pick()
    if (folder === undefined) return
    this.folder = folder
    onChange()
  }
}

/** Whether an address is a download link of Civitai, which takes a token in its query. */
function isCivitai(address: string): boolean {
  return /^https:\/\/(?:www\.)?civitai\.\w+\/api\/download\//i.test(address)
}

function withCivitaiToken(address: string, token: string): string {
  if (!isCivitai(address) || !URL.canParse(address)) return address
  const url = new URL(address)
  url.searchParams.set('token', token)
  return url.href
}
