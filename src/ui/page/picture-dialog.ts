/** Shows a picture large, with its settings and actions. */

import { h, setText } from '../parts/dom.js'
import { saveFile } from '../prompt/image-detail.js'
import type { PromptSettings } from '../element.js'
import { openDialog } from './dialog.js'
import type { GalleryEntry } from './gallery-store.js'
import { settingRows } from './setting-rows.js'

/** The actions of the dialog's buttons. */
export interface PictureActions {
  /** Puts the settings into the prompt box. */
  readonly onReuse: (entry: GalleryEntry) => void
  /** Returns a link to the page, with the settings in its query. */
  readonly link: (settings: PromptSettings) => string
  readonly onDelete: () => void
}

/** Opens the dialog. */
export function openPicture(entry: GalleryEntry, file: Blob, { onReuse, link, onDelete }: PictureActions): void {
  const { settings } = entry
  const url = URL.createObjectURL(file)
  const said = h('p', { role: 'status', class: 'said' })
  const copied = (promise: Promise<void>, what: string) => {
    promise.then(
      () => setText(said, `${what} copied.`),
      () => setText(said, 'The browser did not allow copying.'),
    )
  }
  const made = new Date(entry.createdAt).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' })
  const rows = [...settingRows(settings), ['Created', made]] as const
  const content = h(
    'div',
    { class: 'picture-view' },
    h('img', { src: url, alt: `Picture for: ${settings.prompt}`, width: entry.width, height: entry.height }),
    h(
      'div',
      { class: 'about' },
      h('dl', { class: 'facts' }, ...rows.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)])),
      h(
        'div',
        { class: 'tools' },
        button('Save PNG', () => saveFile(new File([file], entry.name, { type: file.type })), 'primary'),
        button('Use these settings', () => reuse()),
        button('Copy picture', () => copied(copyPicture(file), 'Picture')),
        button('Copy link', () => copied(navigator.clipboard.writeText(link(settings)), 'Link')),
        button('Delete', () => remove(), 'danger'),
      ),
      said,
    ),
  )
  const dialog = openDialog('Picture', content, { wide: true, onClose: () => URL.revokeObjectURL(url) })
  const reuse = () => {
    dialog.close()
    onReuse(entry)
  }
  const remove = () => {
    dialog.close()
    onDelete()
  }
}

function button(text: string, onclick: () => void, className = ''): HTMLElement {
  return h('button', { type: 'button', onclick, class: className }, text)
}

async function copyPicture(file: Blob): Promise<void> {
  await navigator.clipboard.write([new ClipboardItem({ 'image/png': file })])
}
