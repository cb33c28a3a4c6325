let kept = null;
const form = () => document.querySelector('form.ask-form');
const field = () => form().querySelector('input[type=file]');
const busy = on => {
  form().classList.toggle('busy', on);
  form().querySelector('button').textContent = on ? 'Looking…' : 'Search';
};
const look = async photo => {
  kept = photo;
  const bag = new FormData(form());
  bag.set('image', photo, photo.name); bag.delete('q'); bag.delete('item');
  busy(true);
  try {
    const answer = await fetch('/', {method: 'POST', body: bag});
    const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
    const main = page.querySelector('main');
    if (!main) throw new Error(answer.status);
    document.querySelector('main').replaceWith(main);
    const results = document.getElementById('results');
    if (results) { results.focus({preventScroll: true}); results.scrollIntoView({block: 'nearest'}); }
  } catch (error) {
    busy(false);
    const note = document.createElement('p');
    note.className = 'error'; note.setAttribute('role', 'alert');
    note.textContent = 'The server could not be asked: ' + error.message + '. Try again.';
    form().before(note);
  }
};
const image = files => [...files].find(file => file.type.startsWith('image/'));
const send = files => { const photo = image(files); if (photo) look(photo); };
document.addEventListener('change', event => {
  if (event.target === field()) send(field().files);
  else if (event.target.matches('form.ask-form select')) {
    if (kept) look(kept);
    else if (form().elements.item || form().elements.q.value) form().requestSubmit();
  }
});
document.addEventListener('submit', event => {
  if (event.target !== form()) return;
  const words = form().elements.q.value.trim();
  if (kept && !words) { event.preventDefault(); look(kept); } else busy(true);
});
document.addEventListener('paste', event => send(event.clipboardData.files));
for (const name of ['dragover', 'dragleave', 'drop'])
  document.addEventListener(name, event => {
    event.preventDefault(); form().classList.toggle('over', name === 'dragover');
    if (name !== 'drop') return;
    if (image(event.dataTransfer.files)) { send(event.dataTransfer.files); return; }
    const link = event.dataTransfer.getData('text/uri-list');
    if (link && new URL(link, location).origin === location.origin) location.href = link;
  });
window.addEventListener('pageshow', () => busy(false));
