"""The voice of synthetic clips follows the mouth."""

import wave

import numpy as np

from avatar.synthetic.voice import SAMPLE_RATE, synthesise_voice, write_wav

FPS = 25.0


def loudness(samples: np.ndarray, frame: int) -> float:
    step = int(SAMPLE_RATE / FPS)
    return float(np.sqrt((samples[frame * step : (frame + 1) * step] ** 2).mean()))


def test_sound_is_heard_where_the_mouth_is_open():
    jaw = np.zeros(50)
    jaw[20:30] = 0.15
    samples = synthesise_voice(0, jaw, np.zeros(50), np.zeros(50), FPS)
    assert len(samples) == 2 * SAMPLE_RATE
    assert np.abs(samples).max() <= 1
    assert loudness(samples, 25) > 0.05
    assert loudness(samples, 5) == 0
    assert loudness(samples, 45) == 0


def test_rounded_lips_sound_darker():
    jaw, ones, zeros = np.full(25, 0.05), np.ones(25), np.zeros(25)

    def bright(samples: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(samples)) ** 2
        return float(power[np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE) > 1200].sum() / power.sum())

    spread, rounded = (synthesise_voice(3, jaw, *lips, FPS) for lips in ((zeros, ones), (ones, zeros)))
    assert bright(spread) > 5 * bright(rounded)


def test_voices_differ_between_seeds_and_repeat_for_one():
    arguments = (np.full(10, 0.1), np.zeros(10), np.zeros(10), FPS)
    np.testing.assert_array_equal(synthesise_voice(1, *arguments), synthesise_voice(1, *arguments))
    assert np.abs(synthesise_voice(1, *arguments) - synthesise_voice(2, *arguments)).max() > 0.05


def test_wav_holds_the_samples(tmp_path):
    samples = np.linspace(-1, 1, 400)
    with wave.open(str(write_wav(tmp_path / "a.wav", samples))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (SAMPLE_RATE, 1, 2)
        values = np.frombuffer(file.readframes(400), "<i2") / 32767
    np.testing.assert_allclose(values, samples, atol=1e-4)
