"use strict";
// The page that speaks: asks the server for WAV, plays what has come, draws it, and offers it as a file.

const WORDS = {
  en: { name: "English", title: "Speak", interface: "Language of this page", voice: "Voice", language: "Language of the text",
    own: "the voice's own", text: "Text", key: "Key", settings: "Settings", speed: "Speed", pause: "Pauses (s)",
    pitch: "Pitch (semitones)", seed: "Seed", speak: "Speak", stop: "Stop", download: "Download", making: "Speaking …",
    done: "%s s of speech", stopped: "Stopped", locked: "A key is needed.", wave: "Waveform", out: "unavailable",
    notice: "What you hear is AI-generated. It carries a watermark that says which voice spoke." },
  zh: { name: "中文", title: "朗读", interface: "界面语言", voice: "声音", language: "文本语言", own: "该声音的语言",
    text: "文本", key: "密钥", settings: "设置", speed: "语速", pause: "停顿（秒）", pitch: "音高（半音）", seed: "随机种子",
    speak: "朗读", stop: "停止", download: "下载", making: "正在朗读……", done: "%s 秒语音", stopped: "已停止",
    locked: "需要密钥。", wave: "波形", out: "不可用", notice: "您听到的声音由人工智能生成，并带有说明是哪个声音的水印。" },
  ja: { name: "日本語", title: "読み上げ", interface: "画面の言語", voice: "声", language: "テキストの言語", own: "声の言語",
    text: "テキスト", key: "キー", settings: "設定", speed: "速さ", pause: "間（秒）", pitch: "高さ（半音）", seed: "シード",
    speak: "読み上げる", stop: "止める", download: "ダウンロード", making: "読み上げています…", done: "音声 %s 秒",
    stopped: "止めました", locked: "キーが必要です。", wave: "波形", out: "利用できません",
    notice: "この音声はAIによって生成され、どの声かを示す電子透かしが入っています。" },
  ko: { name: "한국어", title: "말하기", interface: "화면 언어", voice: "목소리", language: "글의 언어", own: "목소리의 언어",
    text: "글", key: "키", settings: "설정", speed: "속도", pause: "쉼(초)", pitch: "높이(반음)", seed: "시드",
    speak: "말하기", stop: "멈추기", download: "내려받기", making: "말하는 중…", done: "음성 %s초", stopped: "멈췄습니다",
    locked: "키가 필요합니다.", wave: "파형", out: "사용할 수 없음",
    notice: "이 소리는 AI가 만든 것이며, 어떤 목소리인지 알리는 워터마크가 들어 있습니다." },
  yue: { name: "粵語", title: "讀出嚟", interface: "介面語言", voice: "把聲", language: "文字語言", own: "把聲嘅語言",
    text: "文字", key: "密鑰", settings: "設定", speed: "速度", pause: "停頓（秒）", pitch: "音高（半音）", seed: "隨機種子",
    speak: "讀", stop: "停", download: "下載", making: "讀緊……", done: "%s 秒語音", stopped: "停咗", locked: "需要密鑰。",
    wave: "波形", out: "用唔到", notice: "你聽到嘅聲係人工智能生成，入面有水印講明係邊把聲。" },
};
const LANGUAGES = { auto: "auto", en: "English", zh: "中文", ja: "日本語", ko: "한국어", yue: "粵語" };
const HEADER = 8; // bytes of a chunk's name and size
const $ = (id) => document.getElementById(id);
let words = WORDS.en, running = null, player = null;

function say(key, ...values) { return values.reduce((text, value) => text.replace("%s", value), words[key]); }

function status(text, bad = false) { $("status").textContent = text; $("status").className = bad ? "bad" : ""; }

function translate(code) {
  words = WORDS[code];
  document.documentElement.lang = code;
  for (const place of document.querySelectorAll("[data-say]")) place.textContent = words[place.dataset.say];
  $("wave").setAttribute("aria-label", words.wave);
  $("language").options[0].textContent = words.own;
  try { localStorage.setItem("interface", code); } catch { /* a private window */ }
}

function headers() {
  const key = $("key").value || sessionStorage.getItem("key") || "";
  return key ? { Authorization: `Bearer ${key}` } : {};
}

async function listVoices() {
  const answer = await fetch("v1/voices", { headers: headers() });
  $("locked").hidden = answer.status !== 401 && !sessionStorage.getItem("key");
  if (!answer.ok) { status(answer.status === 401 ? say("locked") : answer.statusText, true); return; }
  if ($("key").value) sessionStorage.setItem("key", $("key").value);
  status("");
  const voices = (await answer.json()).data;
  $("voice").replaceChildren(...voices.map((voice) => {
    const option = new Option(voice.available ? voice.id : `${voice.id} (${say("out")})`, voice.id);
    option.disabled = !voice.available;
    option.dataset.pitch = voice.pitch ? "1" : "";
    return option;
  }));
  voiceChosen();
}

function voiceChosen() {
  const option = $("voice").selectedOptions[0];
  $("pitch").disabled = !option || !option.dataset.pitch;
  if ($("pitch").disabled) { $("pitch").value = 0; shown($("pitch")); }
}

function shown(input) { document.querySelector(`output[for=${input.id}]`).textContent = input.value; }

// Plays samples as they come, without a gap as long as they come in time.
class Player {
  constructor(rate) { this.context = new AudioContext(); this.rate = rate; this.next = 0; this.begin = null; }
  push(samples) {
    if (!samples.length) return;
    const buffer = this.context.createBuffer(1, samples.length, this.rate);
    buffer.copyToChannel(samples, 0);
    const source = this.context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.context.destination);
    this.next = Math.max(this.next, this.context.currentTime + 0.05);
    this.begin ??= this.next;
    source.start(this.next);
    this.next += buffer.duration;
  }
  get heard() { return this.begin === null ? 0 : Math.max(0, this.context.currentTime - this.begin); }
  get over() { return this.context.currentTime >= this.next; }
  close() { this.context.close(); }
}

// A WAV file of unknown length, part by part: its header, then samples of 16 bits.
class Wav {
  constructor() { this.bytes = []; this.count = 0; this.start = 0; this.rate = 0; this.rest = new Uint8Array(0); }
  push(chunk) {
    this.bytes.push(chunk);
    this.count += chunk.length;
    let data = new Uint8Array(this.rest.length + chunk.length);
    data.set(this.rest); data.set(chunk, this.rest.length);
    if (!this.start) {
      const place = this.place(data);
      if (!place) { this.rest = data; return new Float32Array(0); }
      this.start = place;
      data = data.slice(place);
    }
    const even = data.length - data.length % 2, view = new DataView(data.buffer, data.byteOffset, even);
    this.rest = data.slice(even);
    return Float32Array.from({ length: even / 2 }, (_, index) => view.getInt16(2 * index, true) / 32768);
  }
  place(data) { // where the samples begin
    const view = new DataView(data.buffer);
    for (let at = 12; at + HEADER <= data.length;) {
      const name = String.fromCharCode(...data.slice(at, at + 4)), size = view.getUint32(at + 4, true);
      if (name === "data") return at + HEADER;
      if (name === "fmt " && at + HEADER + 8 <= data.length) this.rate = view.getUint32(at + HEADER + 4, true);
      at += HEADER + size + size % 2;
    }
    return 0;
  }
  file() { // with the length that is known now
    const whole = new Uint8Array(this.count);
    let at = 0;
    for (const part of this.bytes) { whole.set(part, at); at += part.length; }
    const view = new DataView(whole.buffer);
    view.setUint32(4, this.count - 8, true);
    view.setUint32(this.start - 4, this.count - this.start, true);
    return new Blob([whole], { type: "audio/wav" });
  }
}

// Peaks of what was made, from left to right; what was heard in the accent's colour.
class Wave {
  constructor() { this.peaks = []; this.left = []; this.samples = 0; }
  push(samples, rate) {
    this.rate = rate;
    this.samples += samples.length;
    const size = Math.round(rate / 50);
    this.left = this.left.concat(Array.from(samples));
    while (this.left.length >= size) this.peaks.push(Math.max(...this.left.splice(0, size).map(Math.abs)));
  }
  draw(heard) {
    const canvas = $("wave"), context = canvas.getContext("2d"), style = getComputedStyle(document.body);
    const width = canvas.width / Math.max(150, this.peaks.length), middle = canvas.height / 2;
    context.clearRect(0, 0, canvas.width, canvas.height);
    this.peaks.forEach((peak, index) => {
      context.fillStyle = index < heard * 50 ? getComputedStyle($("speak")).backgroundColor : style.color;
      const height = Math.max(2, peak * canvas.height * 0.95);
      context.fillRect(index * width, middle - height / 2, Math.max(1, width * 0.7), height);
    });
  }
}

// The words, of which the one that is heard is marked.
class Words {
  constructor() { this.all = []; this.now = -1; $("words").replaceChildren(); }
  push(words) {
    for (const word of words) {
      const place = document.createElement("span");
      place.textContent = word.word;
      $("words").append(place, " ");
      this.all.push({ ...word, place });
    }
  }
  show(heard) {
    let now = this.now;
    while (now + 1 < this.all.length && this.all[now + 1].start <= heard) now++;
    if (now === this.now) return;
    if (this.now >= 0) this.all[this.now].place.removeAttribute("aria-current");
    this.all[now].place.setAttribute("aria-current", "true");
    this.now = now;
  }
}

// Server-sent events of an answer, as objects.
async function* events(answer) {
  const reader = answer.body.getReader(), decoder = new TextDecoder();
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const lines = (rest + decoder.decode(part.value, { stream: true })).split("\n\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line.slice("data: ".length));
  }
}

async function speak(event) {
  event.preventDefault();
  stop();
  const mine = running = new AbortController(), wav = new Wav(), wave = new Wave(), spoken = new Words();
  $("stop").disabled = false;
  $("download").hidden = true;
  status(say("making"));
  try {
    const answer = await fetch("v1/audio/speech", {
      method: "POST", signal: mine.signal, headers: { "Content-Type": "application/json", ...headers() },
      body: JSON.stringify({
        model: "voiceclone", voice: $("voice").value, input: $("text").value, language: $("language").value,
        response_format: "wav", stream_format: "sse", timestamps: true, speed: Number($("speed").value), pause_seconds: Number($("pause").value),
        pitch: Number($("pitch").value), seed: Number($("seed").value),
      }),
    });
    if (!answer.ok) throw new Error((await answer.json()).error.message);
    for await (const event of events(answer)) {
      if (event.words) spoken.push(event.words);
      if (!event.audio) continue;
      const samples = wav.push(Uint8Array.from(atob(event.audio), (letter) => letter.charCodeAt(0)));
      if (!player && wav.rate) { player = new Player(wav.rate); follow(player, wave, spoken); }
      if (player) player.push(samples);
      wave.push(samples, wav.rate);
      wave.draw(player ? player.heard : 0);
    }
    offer(wav, (wave.samples / wav.rate).toFixed(1));
  } catch (error) {
    status(mine.signal.aborted ? say("stopped") : error.message, !mine.signal.aborted);
  } finally {
    if (running === mine) { running = null; $("stop").disabled = !player; }
  }
}

function offer(wav, seconds) {
  const link = $("download");
  URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(wav.file());
  link.download = `${$("voice").value}.wav`;
  link.hidden = false;
  status(say("done", seconds));
}

function follow(mine, wave, spoken) {
  const step = () => {
    if (player !== mine) return;
    wave.draw(mine.heard);
    spoken.show(mine.heard);
    if (mine.over && !running) { stop(); return; }
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
}

function stop() {
  if (running) running.abort();
  if (player) player.close();
  running = player = null;
  $("stop").disabled = true;
}

function start() {
  for (const [code, entry] of Object.entries(WORDS)) $("interface").add(new Option(entry.name, code));
  for (const [code, name] of [["", ""], ...Object.entries(LANGUAGES)]) $("language").add(new Option(name, code));
  const wanted = [localStorage.getItem("interface"), ...navigator.languages.map((tag) =>
    /^(yue|zh-(HK|MO))/i.test(tag) ? "yue" : tag.split("-")[0])];
  $("interface").value = wanted.find((code) => code in WORDS) || "en";
  translate($("interface").value);
  $("interface").onchange = () => { translate($("interface").value); listVoices(); };
  $("voice").onchange = voiceChosen;
  $("key").onchange = listVoices;
  $("form").onsubmit = speak;
  $("stop").onclick = stop;
  for (const id of ["speed", "pause", "pitch"]) { $(id).oninput = () => shown($(id)); shown($(id)); }
  addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("form").requestSubmit();
    if (event.key === "Escape") stop();
  });
  listVoices();
}

start();
