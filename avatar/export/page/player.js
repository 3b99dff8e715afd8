// The player of an exported avatar: three.js draws the .glb; the clip's tracks and the sliders make its pose.
(async function () {
  "use strict";
  const at = (id) => document.getElementById(id);
  const data = JSON.parse(at("data").textContent);
  const FIELD_OF_VIEW = 25; // degrees, about that of a portrait
  const sliders = [];
  let changed = true;

  function fail(text) {
    at("message").textContent = text;
    document.documentElement.dataset.state = "failed";
  }

  async function readModel() {
    const packed = Uint8Array.from(atob(at("model").textContent.trim()), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const bytes = await new Response(stream).arrayBuffer();
    return new Promise((resolve, reject) => new THREE.GLTFLoader().parse(bytes, "", resolve, reject));
  }

  function addSlider(group, spec) {
    const row = document.createElement("label");
    row.className = "slider";
    const name = document.createElement("span");
    name.textContent = spec.label;
    const shown = document.createElement("output");
    const input = document.createElement("input");
    Object.assign(input, { type: "range", min: spec.low, max: spec.high, step: 0.01, value: 0 });
    input.dataset.name = spec.name;
    const slider = { ...spec, input, show: () => { shown.textContent = Number(input.value).toFixed(2); changed = true; } };
    input.addEventListener("input", slider.show);
    row.append(name, shown, input);
    group.append(row);
    sliders.push(slider);
    slider.show();
  }

  function addGroups() {
    data.groups.forEach((group, index) => {
      const section = document.createElement("details");
      section.open = index === data.groups.length - 1 || group.title === "Mouth" || group.title === "Jaw";
      const title = document.createElement("summary");
      title.textContent = group.title;
      section.append(title);
      group.sliders.forEach((spec) => addSlider(section, spec));
      at("sliders").append(section);
    });
    at("reset").addEventListener("click", () => sliders.forEach((slider) => {
      slider.input.value = 0;
      slider.show();
    }));
  }

  // Each track of the clip as a function that writes its values at a time into its node.
  function tracksOf(clip, root) {
    return clip.tracks.map((track) => {
      const dot = track.name.lastIndexOf(".");
      const node = root.getObjectByName(track.name.slice(0, dot));
      const value = node[track.name.slice(dot + 1)];
      const interpolant = track.createInterpolant();
      const rest = value.toArray ? value.toArray() : value.slice();
      const write = (numbers) => {
        if (value.fromArray) value.fromArray(numbers);
        else for (let i = 0; i < value.length; i++) value[i] = numbers[i];
      };
      return (seconds) => write(seconds === null ? rest : interpolant.evaluate(seconds));
    });
  }

  const axis = new THREE.Vector3();
  const rotation = new THREE.Quaternion();

  function addSliders(mesh, root) {
    for (const { input, target, low, high, turns } of sliders) {
      const amount = Number(input.value);
      if (amount === 0) continue;
      if (target !== null) { // together with the clip no further than the slider alone, or the clip alone
        const clip = mesh.morphTargetInfluences[target];
        mesh.morphTargetInfluences[target] = Math.min(Math.max(clip + amount, Math.min(clip, low)), Math.max(clip, high));
      }
      for (const [joint, vector] of turns) {
        axis.fromArray(vector).multiplyScalar(amount);
        const angle = axis.length();
        root.getObjectByName(joint).quaternion.multiply(rotation.setFromAxisAngle(axis.normalize(), angle));
      }
    }
  }

  function openStage() {
    const renderer = new THREE.WebGLRenderer({ canvas: at("view"), antialias: true, alpha: true });
    renderer.outputEncoding = THREE.sRGBEncoding;
    renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
    const camera = new THREE.PerspectiveCamera(FIELD_OF_VIEW, 1, 0.01, 20);
    const distance = (0.95 * data.radius) / Math.sin((FIELD_OF_VIEW / 2) * (Math.PI / 180));
    camera.position.fromArray(data.centre);
    camera.position.z += distance;
    const controls = new THREE.TrackballControls(camera, at("view"));
    controls.target.fromArray(data.centre);
    Object.assign(controls, { rotateSpeed: 2.5, staticMoving: true, minDistance: 0.4 * distance, maxDistance: 3 * distance });
    controls.addEventListener("change", () => { changed = true; });
    const key = new THREE.DirectionalLight(0xffffff, 0.55);
    key.position.set(-0.5, 0.6, 1); // beside the eye: the light turns with the camera
    camera.add(key);
    const scene = new THREE.Scene();
    scene.add(camera, new THREE.HemisphereLight(0xffffff, 0xb0a8a0, 0.75));
    const fit = () => {
      const { clientWidth: width, clientHeight: height } = at("stage");
      renderer.setSize(width, height, false);
      camera.aspect = width / height;
      camera.zoom = Math.min(1, camera.aspect); // a narrow page shows the whole head too
      camera.updateProjectionMatrix();
      controls.handleResize();
      changed = true;
    };
    new ResizeObserver(fit).observe(at("stage"));
    fit();
    return { renderer, camera, controls, scene };
  }

  function runClip(stage, gltf) {
    let mesh = null;
    gltf.scene.traverse((node) => { if (node.isSkinnedMesh) mesh = node; });
    mesh.frustumCulled = false; // its bounds are those of the head at rest
    stage.scene.add(gltf.scene);
    const clip = gltf.animations[0];
    const tracks = tracksOf(clip, gltf.scene);
    const [play, time, clock, follow] = ["play", "time", "clock", "follow"].map(at);
    let playing = false;
    let before = 0;
    const setPlaying = (value) => {
      playing = value;
      play.textContent = playing ? "Pause" : "Play";
      if (playing) follow.checked = true;
      changed = true;
    };
    time.max = clip.duration;
    time.disabled = play.disabled = clip.duration === 0;
    play.addEventListener("click", () => setPlaying(!playing));
    time.addEventListener("input", () => { follow.checked = true; changed = true; });
    follow.addEventListener("change", () => setPlaying(playing && follow.checked));

    function draw(now) {
      requestAnimationFrame(draw);
      if (playing) {
        time.value = (Number(time.value) + (now - before) / 1000) % clip.duration;
        changed = true;
      }
      before = now;
      stage.camera.up.set(0, 1, 0); // trackball controls would roll the head
      stage.controls.update();
      if (!changed) return;
      changed = false;
      tracks.forEach((write) => write(follow.checked ? Number(time.value) : null));
      addSliders(mesh, gltf.scene);
      clock.textContent = `${Number(time.value).toFixed(2)} / ${clip.duration.toFixed(2)} s`;
      stage.renderer.render(stage.scene, stage.camera);
      document.documentElement.dataset.state = "ready";
    }
    requestAnimationFrame(draw);
  }

  addGroups();
  let stage;
  try {
    stage = openStage();
  } catch (error) {
    return fail("This browser cannot draw the avatar: it has no WebGL, or it is switched off.");
  }
  if (!("DecompressionStream" in window)) {
    return fail("This browser is too old to unpack the avatar: Chrome 80, Safari 16.4 and Firefox 113 can.");
  }
  try {
    const gltf = await readModel();
    at("message").textContent = "";
    runClip(stage, gltf);
  } catch (error) {
    fail(`The avatar in this page cannot be opened; the file may be damaged. (${error.message})`);
  }
})();
