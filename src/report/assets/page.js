// A network under the pointer lights up wherever it appears; a click on it in a plot leads to its drawing.
(() => {
  const everywhere = id => document.querySelectorAll(`[data-id="${id}"]`);
  let lit = null;
  const light = id => {
    if (id === lit) return;
    if (lit !== null) everywhere(lit).forEach(element => element.classList.remove('lit'));
    if (id !== null) everywhere(id).forEach(element => element.classList.add('lit'));
    lit = id;
  };
  document.addEventListener('pointerover', event => {
    const found = event.target.closest('[data-id]');
    light(found ? found.dataset.id : null);
  });
  document.addEventListener('click', event => {
    const found = event.target.closest('svg [data-id]');
    const drawing = found && document.getElementById('net-' + found.dataset.id);
    if (!drawing) return;
    const folded = drawing.closest('details');
    if (folded) folded.open = true;
    drawing.scrollIntoView({ block: 'start' });
  });
})();
