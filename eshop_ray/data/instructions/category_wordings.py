"""How questions about products and their categories are worded, in seven languages; the products keep their own."""
# ruff: noqa: RUF001 - Chinese and Japanese have marks of their own

CLASSIFICATION = {
    "en": (
        "Which category does the product belong to?\nProduct: {title}\n{options}\nAnswer:",
        'Sort "{title}" into one of these categories.\n{options}',
        "Product: {title}\nChoose its category.\n{options}",
        "You are listing {title} in a shop. Where does it go?\n{options}",
        "Under which of these would a shopper look for {title}?\n{options}",
        "{title}\nTo which department does that belong?\n{options}",
    ),
    "de": (
        "Zu welcher Kategorie gehört das Produkt?\nProdukt: {title}\n{options}\nAntwort:",
        'Ordnen Sie "{title}" einer dieser Kategorien zu.\n{options}',
        "Produkt: {title}\nWählen Sie die passende Kategorie.\n{options}",
        "Sie stellen {title} in einen Shop ein. Wohin damit?\n{options}",
        "Wo würde ein Kunde {title} suchen?\n{options}",
        "{title}\nIn welche Abteilung gehört das?\n{options}",
    ),
    "fr": (
        "À quelle catégorie appartient ce produit ?\nProduit : {title}\n{options}\nRéponse :",
        "Classez « {title} » dans l'une de ces catégories.\n{options}",
        "Produit : {title}\nChoisissez sa catégorie.\n{options}",
        "Vous mettez {title} en vente dans une boutique. Où le ranger ?\n{options}",
        "Où un client chercherait-il {title} ?\n{options}",
        "{title}\nDans quel rayon cela se trouve-t-il ?\n{options}",
    ),
    "es": (
        "¿A qué categoría pertenece el producto?\nProducto: {title}\n{options}\nRespuesta:",
        "Clasifique «{title}» en una de estas categorías.\n{options}",
        "Producto: {title}\nElija su categoría.\n{options}",
        "Está publicando {title} en una tienda. ¿Dónde va?\n{options}",
        "¿Dónde buscaría un cliente {title}?\n{options}",
        "{title}\n¿A qué sección pertenece?\n{options}",
    ),
    "it": (
        "A quale categoria appartiene il prodotto?\nProdotto: {title}\n{options}\nRisposta:",
        'Assegna "{title}" a una di queste categorie.\n{options}',
        "Prodotto: {title}\nScegli la sua categoria.\n{options}",
        "Stai inserendo {title} in un negozio online. Dove va?\n{options}",
        "Dove cercherebbe un cliente {title}?\n{options}",
        "{title}\nA quale reparto appartiene?\n{options}",
    ),
    "ja": (
        "この商品はどのカテゴリーに属しますか。\n商品: {title}\n{options}\n答え:",
        "「{title}」を次のカテゴリーのいずれかに分類してください。\n{options}",
        "商品: {title}\nカテゴリーを選んでください。\n{options}",
        "{title}をショップに登録します。どこに入れますか。\n{options}",
        "お客様は{title}をどこで探すでしょうか。\n{options}",
        "{title}\nこれはどの売り場の商品ですか。\n{options}",
    ),
    "zh": (
        "该商品属于哪个类目？\n商品：{title}\n{options}\n答案：",
        "请将“{title}”归入以下类目之一。\n{options}",
        "商品：{title}\n请选择它的类目。\n{options}",
        "您要在商店上架{title}，应放在哪个类目？\n{options}",
        "顾客会在哪里寻找{title}？\n{options}",
        "{title}\n这属于哪个部门？\n{options}",
    ),
}

IDENTIFICATION = {
    "en": (
        "Which of these products belongs to the category {category}?\n{options}\nAnswer:",
        "Category: {category}\nPick the product that is listed there.\n{options}",
        "A shopper opens {category}. Which of these will they find?\n{options}",
        "One of the products is in {category}. Which one?\n{options}",
        'Choose the item that fits the category "{category}".\n{options}',
        "What would you shelve under {category}?\n{options}",
    ),
    "de": (
        "Welches dieser Produkte gehört zur Kategorie {category}?\n{options}\nAntwort:",
        "Kategorie: {category}\nWählen Sie das Produkt, das dort geführt wird.\n{options}",
        "Ein Kunde öffnet {category}. Was findet er dort?\n{options}",
        "Eines der Produkte steht unter {category}. Welches?\n{options}",
        'Wählen Sie den Artikel, der zur Kategorie "{category}" passt.\n{options}',
        "Was würden Sie unter {category} einräumen?\n{options}",
    ),
    "it": (
        "Quale di questi prodotti appartiene alla categoria {category}?\n{options}\nRisposta:",
        "Categoria: {category}\nScegli il prodotto che vi si trova.\n{options}",
        "Un cliente apre {category}. Quale di questi troverà?\n{options}",
        "Uno dei prodotti è in {category}. Quale?\n{options}",
        'Scegli l\'articolo adatto alla categoria "{category}".\n{options}',
        "Che cosa metteresti sotto {category}?\n{options}",
    ),
    "zh": (
        "以下哪件商品属于类目 {category}？\n{options}\n答案：",
        "类目：{category}\n请选出属于该类目的商品。\n{options}",
        "顾客打开 {category}，会看到哪件商品？\n{options}",
        "其中一件商品在 {category} 中，是哪一件？\n{options}",
        "请选择符合类目“{category}”的商品。\n{options}",
        "您会把哪件商品放在 {category} 下？\n{options}",
    ),
}
