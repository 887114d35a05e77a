"""Small collections in seven languages: passages of everyday nouns, and queries that are the middle of a passage."""

import random
from dataclasses import dataclass

PASSAGE_WORDS = 6
QUERY_WORDS = 4  # taken from the middle of a passage


@dataclass(frozen=True)
class Script:
    """A language: its nouns, the separator between them, and their forms in passages (article) and queries (plural)."""

    nouns: tuple[str, ...]
    blank: str = " "
    in_passages: str = "{}"
    plurals: tuple[str, ...] = ()  # of queries

    def collection(self, passages: int, queries: int, seed: int = 0) -> tuple[list[str], list[str]]:
        """Return the texts of passages, and a query for each of the first ones."""
        draw = random.Random(seed)
        rows = [draw.sample(range(len(self.nouns)), PASSAGE_WORDS) for _ in range(passages)]
        texts = [self.blank.join(self.in_passages.format(self.nouns[i]) for i in row) for row in rows]
        words = self.plurals or self.nouns
        return texts, [self.blank.join(words[i] for i in row[1 : 1 + QUERY_WORDS]) for row in rows[:queries]]


# fmt: off
SCRIPTS = {
    "th": Script((
        "น้ำ", "ภูเขา", "แม่น้ำ", "โรงเรียน", "หมอ", "ตลาด", "ข้าว", "ปลา", "รถไฟ", "หนังสือ", "เพลง", "ดอกไม้",
        "ทะเล", "เมือง", "วัด",
        "ช้าง", "แมว", "บ้าน", "ฝน", "ถนน", "กาแฟ", "ดาว", "ไม้", "เกาะ", "ครู", "ป่า", "สะพาน", "เรือ", "นก",
        "ผลไม้",
    ), blank=""),
    "hi": Script((
        "पानी", "पहाड़", "नदी", "स्कूल", "डॉक्टर", "बाज़ार", "चावल", "मछली", "रेलगाड़ी", "किताब", "गीत", "फूल",
        "समुद्र", "शहर", "मंदिर",
        "हाथी", "बिल्ली", "घर", "बारिश", "सड़क", "चाय", "तारा", "पेड़", "द्वीप", "शिक्षक", "जंगल", "पुल", "नाव",
        "चिड़िया", "फल",
    )),
    "ja": Script((
        "水", "山", "川", "学校", "医者", "市場", "米", "魚", "電車", "本", "歌", "花", "海", "町", "寺",
        "象", "猫", "家", "雨", "道", "コーヒー", "星", "木", "島", "先生", "森", "橋", "船", "鳥", "果物",
    ), blank="と"),
    "zh": Script((
        "河流", "高山", "学校", "医生", "市场", "大米", "金鱼", "火车", "书本", "歌曲", "花园", "大海", "城市",
        "寺庙", "大象",
        "小猫", "房屋", "雨水", "道路", "咖啡", "星星", "树木", "岛屿", "老师", "森林", "桥梁", "船只", "飞鸟",
        "水果", "茶叶",
    ), blank=""),
    "ar": Script((
        "ماء", "جبل", "نهر", "مدرسة", "طبيب", "سوق", "رز", "سمك", "قطار", "كتاب", "مسرح", "زهرة", "بحر", "مدينة",
        "مسجد",
        "فيل", "قطة", "بيت", "مطر", "شارع", "قهوة", "نجم", "شجرة", "جزيرة", "معلم", "غابة", "جسر", "سفينة", "طائر",
        "تفاح",
    ), in_passages="ال{}"),
    "vi": Script((
        "nước", "núi", "sông", "trường", "bác", "chợ", "gạo", "cá", "tàu", "sách", "hát", "hoa", "biển", "phố",
        "chùa",
        "voi", "mèo", "nhà", "mưa", "đường", "cà", "sao", "cây", "đảo", "thầy", "rừng", "cầu", "thuyền", "chim",
        "quả",
    )),
    "ru": Script((
        "гора", "река", "школа", "врач", "рынок", "рыба", "поезд", "книга", "песня", "улица", "море", "город",
        "храм", "слон",
        "кошка", "дом", "звезда", "лес", "остров", "учитель", "мост", "лодка", "птица", "фрукт", "вода", "луна",
        "стол",
        "окно", "лампа", "берег",
    ), plurals=(
        "горы", "реки", "школы", "врачи", "рынок", "рыбы", "поезда", "книги", "песня", "улицы", "моря", "города",
        "храмы",
        "слоны", "кошки", "дома", "звезды", "леса", "острова", "учителя", "мосты", "лодки", "птицы", "фрукты",
        "воды",
        "луны", "столы", "окна", "лампы", "берега",
    )),
}
# fmt: on
