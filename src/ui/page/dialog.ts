/** Opens a panel in a modal `<dialog>`: the browser keeps the focus inside, closes it on Esc, and makes the page behind inert. */

import { h } from '../parts/dom.js'

/** Shows `content` below a title. The dialog is removed when it is closed. */
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
    // A click on the backdrop has the dialog as its target, but is outside its box.
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
