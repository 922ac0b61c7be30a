"""A submission to the ZeroSpeech challenge "TTS without T": written, checked, counted, and put beside what others had.

    task = zerospeech.task(root)                                  what has to be handed in
    submission.write_embeddings(folder, task, pack, encode, "mfcc")
    submission.write_speech(folder, task, pack, speak, "mfcc")
    submission.write_metadata(folder, Metadata(...))
    validation.validate(folder, [task])                           a finding for everything that would be refused
    results.score(folder, [task])                                 bit rate, and ABX given a scorer
    leaderboard.table()                                           the 19 entries of 2020

A system is two functions: encode(features (C, T)) -> rows (N, D), and speak(features (C, T), speaker) -> wave (S,).
"""
