"""What a report says, in English and in Chinese."""

_TEXTS = {
    "lang": ("en", "zh-CN"),
    "title": ("Earshot: results", "Earshot：结果"),
    "other": ("中文", "English"),
    "other_lang": ("zh-CN", "en"),
    "skip": ("Skip to the results", "跳到结果"),
    "contents": ("Contents", "目录"),
    "lead": (
        "Large speech models distilled into small students, from very little labelled audio. "
        "Every figure below comes from the pipeline’s own files; their hashes are at the end.",
        "用极少的标注音频，把大型语音模型蒸馏成小型学生模型。以下每个数字都来自流水线自己的文件，"
        "其哈希列在文末。",
    ),
    "intervals_note": (
        "Intervals are 95%, over whole passages or locations and training seeds; gains are paired "
        "on the same items and seeds.",
        "区间均为 95%，按整个段落或地点以及训练种子重采样；增益在相同题目与种子上配对。",
    ),
    "student": ("the shipped student", "交付的学生"),
    "shipped": ("shipped recipe, mean over seeds:", "交付的配方，种子均值："),
    "smaller": (
        "{factor:.0f}× smaller than the teacher, in bytes",
        "字节数为教师的 1/{factor:.0f}",
    ),
    "missing": (
        "Not here: {what} is missing. `make repro` makes it.",
        "此处缺少：{what}。运行 `make repro` 即可生成。",
    ),
    "results": ("Results", "结果"),
    "results_caption": (
        "Every model’s {metric} on the test items, with its 95% interval.",
        "每个模型在测试题上的{metric}及其 95% 区间。",
    ),
    "table": ("Scores and costs", "得分与代价"),
    "model": ("model", "模型"),
    "accuracy": ("accuracy", "准确率"),
    "wer": ("word error rate", "词错误率"),
    "device_drop": ("device drop", "设备落差"),
    "metric_axis": ("{metric}, %", "{metric}，%"),
    "chance": ("chance {share}", "随机水平 {share}"),
    "interval": ("95% interval", "95% 区间"),
    "head_macro_f1": ("macro F1, %", "宏平均 F1，%"),
    "head_nll": ("log-loss", "对数损失"),
    "head_ece": ("calibration error, points", "校准误差，百分点"),
    "head_parameters": ("parameters", "参数量"),
    "head_macs": ("MMACs", "百万次乘加"),
    "head_bytes": ("file", "文件"),
    "head_latency_ms": ("latency, ms", "延迟，毫秒"),
    "head_train_minutes": ("training, min", "训练，分钟"),
    "cost_note": (
        "MACs and latency are of one clip of {seconds:g} s, latency on one thread. int8 files "
        "share their float students’ training.",
        "乘加次数与延迟均针对一段 {seconds:g} 秒的音频，延迟为单线程。"
        "int8 文件沿用其浮点学生的训练。",
    ),
    "gains": ("Paired gains", "配对增益"),
    "gains_caption": (
        "One model’s {metric} less another’s on the same items and seeds, in points. Hollow: the "
        "interval holds zero.",
        "相同题目与种子上，一个模型的{metric}减去另一个，单位为百分点。空心：区间包含零。",
    ),
    "gains_axis": ("{metric}, points", "{metric}，百分点"),
    "zero": ("no difference", "无差别"),
    "curves": ("Learning curves", "学习曲线"),
    "validation": ("validation accuracy", "验证准确率"),
    "validation_caption": (
        "Accuracy on the validation items after each epoch; thin: a seed, thick: their mean.",
        "每轮之后验证题上的准确率；细线为单个种子，粗线为均值。",
    ),
    "loss": ("training loss", "训练损失"),
    "loss_caption": (
        "Training loss; recipes sum different terms, so their levels do not compare.",
        "训练损失；各配方所加的项不同，数值高低不可互比。",
    ),
    "epoch": ("epoch", "轮"),
    "confusion": ("What is taken for what", "答成了什么"),
    "confusion_caption": (
        "Answers of {model}, all seeds, in percent of the items whose right answer is the row.",
        "{model} 的回答，所有种子合计；每行为该正确答案的题目中各回答所占百分比。",
    ),
    "right_answer": ("right answer", "正确答案"),
    "answer": ("answer", "回答"),
    "option": ("option {number}", "选项 {number}"),
    "skill": ("By skill", "按技能"),
    "wording": ("By wording", "按句式"),
    "class": ("By class", "按类别"),
    "device": ("By device", "按设备"),
    "device_group": ("By group of devices", "按设备组"),
    "by": ("By {key}", "按 {key}"),
    "breakdown_caption": (
        "Lines are 95% intervals; dashed: chance.",
        "横线为 95% 区间；虚线为随机水平。",
    ),
    "robustness": ("Under other conditions", "其他条件下"),
    "robustness_caption": (
        "The same items asked again with silence at both ends, beside a machine, in a hall, over a "
        "telephone, quieter, and as MP3: sounds that training does not use. Lines are 95% "
        "intervals over passages; dashed: chance.",
        "同样的题目在其他条件下再问一遍：两端加静音、旁有机器、厅堂、电话、音量降低、MP3；"
        "训练不使用这些声音。横线为按段落的 95% 区间；虚线为随机水平。",
    ),
    "clean": ("clean", "原声"),
    "silence 500ms": ("0.5 s of silence", "0.5 秒静音"),
    "silence 2s": ("2 s of silence", "2 秒静音"),
    "noise 20db": ("machine, 20 dB", "机器声，20 dB"),
    "noise 10db": ("machine, 10 dB", "机器声，10 dB"),
    "hall": ("hall", "厅堂"),
    "telephone": ("telephone", "电话"),
    "quiet 30db": ("30 dB quieter", "音量低 30 dB"),
    "mp3 32kbit": ("MP3, 32 kbit/s", "MP3，32 kbit/s"),
    "calibration": ("Calibration", "校准"),
    "calibration_caption": (
        "How often answers of a confidence are right, {model}. A mark grows with its share of the "
        "answers.",
        "{model}：某一置信度的回答有多少是对的。标记大小表示所占份额。",
    ),
    "confidence": ("confidence", "置信度"),
    "perfect": ("perfect", "完全校准"),
    "cost": ("Cost against {metric}", "代价与{metric}"),
    "cost_caption": (
        "Each model’s {metric} over {cost}, logarithmic, with 95% intervals; hollow: quantized. "
        "The upright axis does not begin at zero.",
        "各模型的{metric}随{cost}变化，横轴为对数，附 95% 区间；空心：量化后。纵轴不从零开始。",
    ),
    "cost_bytes": ("file size", "文件大小"),
    "cost_macs": ("multiply-accumulates", "乘加次数"),
    "cost_latency_ms": ("median latency, ms", "延迟中位数，毫秒"),
    "routing": ("Teacher layers that student stages learn from", "学生各级所学的教师层"),
    "routing_caption": (
        "Similarity of a student stage’s and a teacher layer’s attention in {recipe}, mean over "
        "seeds; framed: chosen by that many seeds.",
        "{recipe}：学生级与教师层注意力的相似度，取种子均值；加框者被相应数目的种子选中。",
    ),
    "stage": ("student stage", "学生级"),
    "layer": ("teacher layer", "教师层"),
    "mean_words": ("words right, mean over models", "各模型正确词的平均比例"),
    "hardest": ("Hardest test items", "最难的测试题"),
    "hardest_note": (
        "The {count} items whose right option has the lowest probability, mean over seeds, then "
        "over all models; one item of a passage or location. Pictures are the log-mel frames that "
        "the student hears, low bands below; the lines, in the colours of the options’ numbers, "
        "how the shipped student weighs the frames for each option.",
        "正确选项概率最低的 {count} 题（先对种子、再对所有模型取均值），每个段落或地点取一题。"
        "图为学生所听的对数梅尔帧，低频在下；"
        "其下各线与选项编号同色，为交付的学生给各选项对各帧的权重。",
    ),
    "hardest_missing": (
        "Not here: the test items’ sound or models’ answers are missing (data/ and models/ are "
        "not in Git). `dvc pull` or `make repro` brings them.",
        "此处缺少：没有测试题的声音或模型的回答（data/ 与 models/ 不在 Git 中）。"
        "运行 `dvc pull` 或 `make repro` 即可得到。",
    ),
    "spectrogram": (
        "Log-mel spectrogram of {item}, {seconds:.1f} s",
        "{item} 的对数梅尔谱，{seconds:.1f} 秒",
    ),
    "attention": ("How the student weighs the frames for each option", "学生为各选项对各帧的权重"),
    "listen": ("Sound of {item}", "{item} 的声音"),
    "right": ("right", "正确"),
    "answered": ("answered", "回答"),
    "answers_caption": ("What each model answered", "各模型的回答"),
    "seeds_right": ("seeds right", "答对的种子"),
    "p_right": ("P(right)", "P(正确)"),
    "mean_p": ("P(right option), mean over all models", "P(正确选项)，所有模型均值"),
    "spoken": ("What is said", "音频内容"),
    "recorded_by": ("device {device}", "设备 {device}"),
    "parameters_title": ("Parameters", "参数"),
    "parameters_note": ("params.yaml, whole.", "params.yaml 全文。"),
    "provenance": ("Where this comes from", "来历"),
    "data_caption": ("Data and models, as dvc.lock has them", "数据与模型，依 dvc.lock"),
    "sources_caption": ("Files that this page shows, SHA-256", "本页所示的文件，SHA-256"),
    "path": ("path", "路径"),
    "size": ("size", "大小"),
    "files": ("files", "文件数"),
    "hash": ("MD5", "MD5"),
    "commit": ("Git commit of the results", "结果的 Git 提交"),
    "test_items": ("{count} test items", "{count} 道测试题"),
    # what values of a breakdown are called; others are shown as they are, underscores as spaces
    "main_idea": ("main idea", "主旨"),
    "detail": ("detail", "细节"),
    "inference": ("inference", "推断"),
    "seen": ("seen", "见过"),
    "unseen": ("unseen", "未见过"),
    "real": ("real", "真实设备"),
}
TEXTS: dict[str, dict[str, str]] = {
    language: {name: pair[place] for name, pair in _TEXTS.items()}
    for place, language in enumerate(("en", "zh"))
}
