/** Opens a panel in the browser's own modal dialog: focus is held, Esc closes, the page behind is inert. */

import { h } from '../parts/dom.js'

/** Shows `content` under a title; the dialog is gone once closed. */
export function openDialog(
  title: string,
  content: Node,
  { wide = false, onClose }: { wide?: boolean; onClose?: () => void } = {},
): HTMLDialogElement {
  const close = h('button', { type: 'button' }, 'Close')
  const dialog = h(
    'dialog',
    { 'aria-labelledby': 'dialog-title', class: wide ? 'wide' : '' },
    h('div', { class: 'dialog-head' }, h('h2', { id: 'dialog-title' }, title), close),
    content,
  )
  close.addEventListener('click', () => dialog.close())
  dialog.addEventListener('click', (event) => {
    // Only a click on the backdrop has the dialog itself as its target and lies outside its box.
    const box = dialog.getBoundingClientRect()
    const inside =
      event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom
    if (event.target === dialog && !inside) dialog.close()
  })
  dialog.addEventListener('close', () => {
    dialog.remove()
    onClose?.()
  })
  document.body.append(dialog)
  dialog.showModal()
  return dialog
}
